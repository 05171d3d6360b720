//! docs/first-steps.md, done as it stands there: its commands in a folder of their own, and what they print.
//!
//! Only the ports are others. `cargo install` is left out: the binary of the tests is in the `PATH`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::daemon::{Ended, Running, run};
use crate::support::redis::free_port;

const DOCUMENT: &str = include_str!("../../docs/first-steps.md");

/// A fenced block: its language, and its text.
struct Block {
    language: String,
    text: String,
}

/// The blocks of the page, in order, with these ports instead of its own.
fn blocks(ports: &BTreeMap<&str, u16>) -> Vec<Block> {
    let mut text = DOCUMENT.to_owned();
    for (port, own) in ports {
        text = text.replace(port, &own.to_string());
    }
    let fenced = text.split("\n```").collect::<Vec<_>>();
    // Behind a closing fence the next block may begin at once: each part is either code or what is between.
    let code = fenced.iter().skip(1).step_by(2);
    code.map(|code| {
        let (language, text) = code.split_once('\n').unwrap();
        Block { language: language.to_owned(), text: text.to_owned() }
    })
    .collect()
}

/// A reader of the page: a folder, and the terminals with what runs in them.
struct Walk<'a> {
    folder: &'a Path,
    ports: BTreeMap<&'static str, u16>,
    running: Vec<(String, Running)>,
}

impl Walk<'_> {
    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-ec", line]).current_dir(self.folder);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDINGS_")) {
            command.env_remove(name);
        }
        let binaries = Path::new(env!("CARGO_BIN_EXE_tidings")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", binaries.display()));
        command.env("XDG_CONFIG_HOME", self.folder.join("configuration")).env("TZ", "UTC");
        let port = self.ports["7400"];
        command.env("TIDINGS_LISTEN", format!("127.0.0.1:{port}"));
        command.env("TIDINGS_URL", format!("http://127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a block to its end, or starts what runs until it is ended. Returns what it prints.
    fn follow(&mut self, block: &str) -> Option<Ended> {
        let line = block.trim();
        // What is said on stderr when it works.
        let begun = match line.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["cargo", "install"] => return None,
            ["redis-server", _] => return self.start(line, None),
            ["tidings", "serve"] => "listening",
            ["tidings", "tail"] if !line.contains("--count") => "following",
            _ => return Some(run(self.shell(line), "")),
        };
        self.start(line, Some(begun))
    }

    fn start(&mut self, line: &str, begun: Option<&str>) -> Option<Ended> {
        // The page says to stop the daemon before it is started with other flags.
        if line == "tidings serve --schemas types" {
            let place = self.running.iter().position(|(line, _)| line == "tidings serve").unwrap();
            let (_, daemon) = self.running.remove(place);
            daemon.signal("INT");
            assert_eq!(daemon.ended().code, Some(0));
        }
        let process = Running::start(self.shell(&format!("exec {line}")));
        match begun {
            Some(words) => drop(process.said(words)),
            None => while !process.line().contains("Ready to accept connections") {},
        }
        self.running.push((line.to_owned(), process));
        None
    }

    /// The process that was started by this command.
    fn terminal(&self, line: &str) -> &Running {
        &self.running.iter().find(|(begun, _)| begun == line).unwrap_or_else(|| panic!("{line} does not run")).1
    }
}

/// The words of an output, but for times, positions and ids, which differ from run to run.
fn words(text: &str) -> Vec<String> {
    let differs = |word: &str| {
        let digits = word.contains(|letter: char| letter.is_ascii_digit());
        digits && (word.contains(':') || word.len() == 36)
    };
    let words = text.split(|letter: char| letter.is_whitespace() || "\"{},[]".contains(letter));
    words.filter(|word| !word.is_empty()).map(|word| if differs(word) { "…".into() } else { word.to_owned() }).collect()
}

#[test]
fn a_new_user_gets_what_the_page_shows() {
    let folder = tempfile::tempdir().unwrap();
    let ports = ["7400", "7401", "7402", "6399"].map(|port| (port, free_port())).into();
    let mut walk = Walk { folder: folder.path(), ports, running: Vec::new() };
    let mut last: Option<Ended> = None;
    let (mut shown, mut refused) = (0, 0);
    for block in blocks(&walk.ports) {
        match &*block.language {
            "sh" => {
                last = walk.follow(&block.text);
                if let Some(ended) = &last {
                    // One command of the page is a mistake, on purpose.
                    let fails = block.text.contains("oldQuantity=many");
                    assert_eq!(ended.code == Some(0), !fails, "{}\n{ended:?}", block.text);
                    refused += usize::from(fails);
                }
            }
            "text" => {
                let ended = last.as_ref().expect("a command before its output");
                let printed = match block.text.contains("reason=sale  ") {
                    true => walk.terminal("tidings tail").line(),
                    false => format!("{}{}", ended.out, ended.err),
                };
                // curl shows its progress where stderr is no terminal.
                let (expected, printed) = (words(&block.text), words(&printed));
                assert_eq!(printed.get(..expected.len()), Some(&expected[..]), "{}", block.text);
                shown += 1;
            }
            "js" => {
                // Node before version 22 has a WebSocket behind a flag.
                let end = "socket.addEventListener('message', () => socket.close());";
                let program =
                    format!("cat > page.js <<'JS'\n{}\n{end}\nJS\nnode --experimental-websocket page.js", block.text);
                let ended = run(walk.shell(&program), "");
                assert!(ended.code == Some(0) && ended.out.contains("type: 'welcome'"), "{ended:?}");
            }
            language => panic!("a block of {language:?}"),
        }
    }
    assert_eq!((shown, refused), (3, 1), "outputs, and mistakes on purpose");
    walk.terminal("tidings tail").said("the log was lost and began anew");
    // Without names, it follows the channel that has come.
    while !walk.terminal("tidings tail").line().contains("price-change  a-1  sku=a-1 cents=1999") {}
    let other = format!("tidings tail --url http://127.0.0.1:{} order-status", walk.ports["7402"]);
    assert!(walk.terminal(&other).line().contains("orderId=o-1 newStatus=shipped"));
    let types = std::fs::read_to_string(folder.path().join("generated/events.ts")).unwrap();
    assert!(types.contains("PriceChange"), "{types}");
}
