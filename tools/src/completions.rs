//! `kafka completions bash|zsh|fish`: what the shells offer after a tool's name, from the tables the
//! tools read their lines with.

use crate::applets::{APPLETS, Applet};
use crate::failure::Failure;
use crate::print::Out;
use crate::say;

pub(crate) fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    match line.first().map(String::as_str) {
        Some("bash") => bash(out),
        Some("zsh") => {
            say!(out, "#compdef {}", names().join(" "));
            say!(out, "autoload -U +X bashcompinit && bashcompinit");
            bash(out);
        }
        Some("fish") => fish(out),
        _ => {
            return Err(Failure::said(
                "kafka completions bash|zsh|fish   e.g. source <(kafka completions bash)",
            ));
        }
    }
    Ok(())
}

/// Every name a tool is called by.
fn names() -> Vec<String> {
    let both = |name: &str| [name.to_owned(), format!("{name}.sh")];
    let tools = APPLETS.iter().flat_map(|applet| both(&applet.link()));
    both("kafka").into_iter().chain(tools).collect()
}

/// What every tool answers besides its own flags.
const OF_ALL: [(&str, &str); 2] = [
    ("help", "Print usage information."),
    ("version", "Display Kafka version."),
];

fn flags(applet: &Applet) -> Vec<String> {
    let own = applet.flags.iter().map(|flag| flag.name);
    let all = OF_ALL.iter().map(|(name, _)| *name);
    // A few tools have one of them in their own tables.
    let more = all.filter(|name| !applet.flags.iter().any(|flag| flag.name == *name));
    own.chain(more).map(|name| format!("--{name}")).collect()
}

fn bash(out: &mut Out) {
    let tools: Vec<&str> = APPLETS.iter().map(|applet| applet.name).collect();
    say!(out, "_kafka() {{");
    say!(
        out,
        "  local current=${{COMP_WORDS[COMP_CWORD]}} tool=${{COMP_WORDS[0]##*/}} offers="
    );
    say!(out, "  if [ \"${{tool%.sh}}\" = kafka ]; then");
    say!(out, "    if [ \"$COMP_CWORD\" = 1 ]; then");
    say!(
        out,
        "      COMPREPLY=($(compgen -W '{} link completions version help --version --help' -- \"$current\"))",
        tools.join(" ")
    );
    say!(out, "      return");
    say!(out, "    fi");
    say!(out, "    tool=${{COMP_WORDS[1]}}");
    say!(out, "  fi");
    say!(out, "  tool=${{tool%.sh}}");
    say!(out, "  case ${{tool#kafka-}} in");
    for applet in APPLETS {
        say!(
            out,
            "    {}) offers='{}' ;;",
            applet.name,
            flags(applet).join(" ")
        );
    }
    say!(out, "  esac");
    say!(
        out,
        "  COMPREPLY=($(compgen -W \"$offers\" -- \"$current\"))"
    );
    say!(out, "}}");
    say!(out, "complete -o default -F _kafka {}", names().join(" "));
}

fn fish(out: &mut Out) {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    for word in ["link", "completions", "version", "help"] {
        say!(
            out,
            "complete -c kafka -n __fish_use_subcommand -f -a {word}"
        );
    }
    for (name, about) in OF_ALL {
        for tool in names() {
            say!(out, "complete -c {tool} -l {name} -d '{}'", quoted(about));
        }
    }
    for applet in APPLETS {
        let (name, link) = (applet.name, applet.link());
        say!(
            out,
            "complete -c kafka -n __fish_use_subcommand -f -a {name} -d '{}'",
            quoted(applet.help)
        );
        let own = applet.flags.iter();
        for flag in own.filter(|flag| OF_ALL.iter().all(|(name, _)| *name != flag.name)) {
            let takes = if flag.value.is_some() { " -r" } else { "" };
            let rest = format!("-l {}{takes} -d '{}'", flag.name, quoted(flag.help));
            say!(out, "complete -c {link} {rest}");
            say!(out, "complete -c {link}.sh {rest}");
            say!(
                out,
                "complete -c kafka -n '__fish_seen_subcommand_from {name}' {rest}"
            );
        }
    }
}
