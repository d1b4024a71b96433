// Whether Apache's request classes read a body: lines of "KEY VERSION HEX" come in, a 1 or a 0 for each goes out.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.requests.AbstractRequest;

public class Verdicts {
    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder verdicts = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", -1);
            ByteBuffer body = ByteBuffer.wrap(HexFormat.of().parseHex(words[2]));
            ApiKeys api = ApiKeys.forId(Short.parseShort(words[0]));
            try {
                AbstractRequest.parseRequest(api, Short.parseShort(words[1]), body);
                verdicts.append('1');
            } catch (Throwable refused) {
                verdicts.append('0');
            }
        }
        System.out.println(verdicts);
    }
}
