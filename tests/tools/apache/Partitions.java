import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Where Java's producer puts keys: hexadecimal keys on stdin, partition counts as arguments. */
public class Partitions {
    public static void main(String[] counts) throws Exception {
        BufferedReader keys = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder all = new StringBuilder();
        for (String key = keys.readLine(); key != null; key = keys.readLine()) {
            all.append(key);
            for (String count : counts) {
                byte[] bytes = HexFormat.of().parseHex(key);
                all.append(' ').append(BuiltInPartitioner.partitionForKey(bytes, Integer.parseInt(count)));
            }
            all.append('\n');
        }
        System.out.print(all);
    }
}
