//! A JAAS file, as far as it names a server's users or a client:
//! `Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_NAME="password"; };`
//! `Client { … required username="NAME" password="…"; };`

use std::iter::Peekable;
use std::str::Chars;

use crate::sasl::{Login, Users};

const MODULE: &str = "DigestLoginModule";
const USER: &str = "user_";

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Mark(char),
}

/// The users of `section`; `None` where there is no such section.
pub(crate) fn server_users(text: &str, section: &str) -> Result<Option<Users>, &'static str> {
    let Some(pairs) = pairs(text, section)? else {
        return Ok(None);
    };
    let users = pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(USER)?.to_owned(), value)));
    Ok(Some(Users(users.collect())))
}

/// Who a client of `section` is.
pub(crate) fn client_login(text: &str, section: &str) -> Result<Option<Login>, &'static str> {
    let Some(pairs) = pairs(text, section)? else {
        return Ok(None);
    };
    let named = |name: &str| {
        let found = pairs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let (user, password) = named("username")
        .zip(named("password"))
        .ok_or("a client's section names username and password")?;
    Ok(Some(Login { user, password }))
}

type Pairs = Vec<(String, String)>;

/// What `section` says.
fn pairs(text: &str, section: &str) -> Result<Option<Pairs>, &'static str> {
    let tokens = tokens(text)?;
    let mut at = tokens.iter();
    while let Some(token) = at.next() {
        let Token::Word(name) = token else {
            return Err("a section begins with its name");
        };
        if at.next() != Some(&Token::Mark('{')) {
            return Err("after the name of a section comes {");
        }
        let body: Vec<&Token> = at
            .by_ref()
            .take_while(|token| **token != Token::Mark('}'))
            .collect();
        if at.next() != Some(&Token::Mark(';')) {
            return Err("a section ends with };");
        }
        if name == section {
            return pairs_of(&body).map(Some);
        }
    }
    Ok(None)
}

fn pairs_of(body: &[&Token]) -> Result<Pairs, &'static str> {
    match body.first() {
        Some(Token::Word(class)) if class.ends_with(MODULE) => {}
        _ => return Err("only ZooKeeper's DigestLoginModule is known here, not Kerberos"),
    }
    let pairs = body.windows(3).filter_map(|triple| match triple {
        [Token::Word(key), Token::Mark('='), Token::Word(value)] => {
            Some((key.clone(), value.clone()))
        }
        _ => None,
    });
    Ok(pairs.collect())
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let (mut tokens, mut letters) = (Vec::new(), text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '#' => skip_line(&mut letters),
            '/' if letters.peek() == Some(&'/') => skip_line(&mut letters),
            '/' if letters.peek() == Some(&'*') => skip_comment(&mut letters),
            '{' | '}' | ';' | '=' => tokens.push(Token::Mark(letter)),
            '"' => tokens.push(Token::Word(quoted(&mut letters)?)),
            letter if letter.is_whitespace() => {}
            letter => {
                let mut word = String::from(letter);
                while let Some(next) =
                    letters.next_if(|next| !next.is_whitespace() && !"{};=\"".contains(*next))
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

fn skip_line(letters: &mut Peekable<Chars<'_>>) {
    while letters.next_if(|letter| *letter != '\n').is_some() {}
}

fn skip_comment(letters: &mut Peekable<Chars<'_>>) {
    letters.next();
    let mut before = ' ';
    for letter in letters {
        if before == '*' && letter == '/' {
            return;
        }
        before = letter;
    }
}

fn quoted(letters: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let mut word = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(word),
            '\\' => word.extend(letters.next()),
            letter => word.push(letter),
        }
    }
    Err("a quotation mark is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_users_are_found_among_other_sections() {
        let text = "// brokers\nClient { a.B required username=\"x\"; };\n\
            Server { /* all */ org.apache.zookeeper.server.auth.DigestLoginModule required\n\
            user_super=\"admin;{}\"\n user_bob=\"b\\\"ob\"; };";
        let users = server_users(text, "Server").unwrap().unwrap();
        assert_eq!(users.0["super"], "admin;{}");
        assert_eq!(users.0["bob"], "b\"ob");
        assert_eq!(server_users(text, "Other"), Ok(None));
        assert!(!format!("{users:?}").contains("admin"));
        let module = "DigestLoginModule required";
        let client =
            |rest: &str| client_login(&format!("Client {{ {module} {rest}; }};"), "Client");
        let login = client("username=\"bob\" password=\"b=1\"")
            .unwrap()
            .unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("bob", "b=1")
        );
        assert!(client("username=\"bob\"").is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "Server { com.sun.security.auth.module.Krb5LoginModule required; };",
            "Server required",
            "Server { DigestLoginModule required user_a=\"x",
            "Server { DigestLoginModule required }",
            "{",
        ] {
            assert!(server_users(text, "Server").is_err(), "{text}");
        }
    }
}
