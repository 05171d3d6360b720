//! Contexts: daemons by name in a file of the user, and which of them a command talks to.

use std::fs;
use std::path::Path;

use crate::support::daemon::{Daemon, Ended, run, tidings};

fn context(folder: &Path, arguments: &[&str]) -> Ended {
    run(tidings(folder, arguments), "")
}

#[test]
fn a_command_talks_to_the_named_context_or_else_to_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str]| context(folder.path(), arguments);
    let [first, second] = [Daemon::start(), Daemon::start()];
    let sale = ["productId=1", "oldQuantity=2", "newQuantity=1", "reason=sale"];
    let published = second.run(&[&["publish", "inventory-change"][..], &sale].concat());
    assert_eq!(published.code, Some(0), "{published:?}");

    let added = here(&["context", "add", "first", &first.url]);
    assert!(added.err.contains("added first; commands that name no daemon use it"), "{added:?}");
    let added = here(&["context", "add", "second", &second.url]);
    assert!(added.err.contains("context use second` makes it the current one"), "{added:?}");

    let history =
        |more: &[&str]| here(&[&["history", "inventory-change", "--format", "{subject}"][..], more].concat()).out;
    assert_eq!(history(&[]), "");
    assert_eq!(history(&["--context", "second"]), "1\n");
    assert_eq!(here(&["context", "use", "second"]).code, Some(0));
    assert_eq!(history(&[]), "1\n");
    assert_eq!(history(&["--url", &first.url]), "");

    let listed = here(&["context", "list"]);
    assert!(listed.out.lines().any(|line| line.starts_with("*  second") && line.ends_with(&second.url)), "{listed:?}");
    let removed = here(&["context", "remove", "second"]);
    assert!(removed.err.contains("there is none now"), "{removed:?}");
    let listed = here(&["context", "list", "--json"]);
    assert_eq!(listed.out.lines().count(), 1, "{listed:?}");
    assert!(listed.out.contains(r#""name":"first","current":false"#), "{listed:?}");
}

#[test]
fn a_token_of_a_context_goes_to_no_other_address() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stranger = format!("http://{}", listener.local_addr().unwrap());
    fs::write(folder.path().join("token"), "secret-of-the-context").unwrap();
    let add = ["context", "add", "prod", "http://127.0.0.1:1", "--token-file", "token"];
    assert_eq!(context(folder.path(), &add).code, Some(0));

    let asked = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().unwrap();
        let (mut request, mut part) = (Vec::new(), [0; 4096]);
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = socket.read(&mut part).unwrap();
            request.extend_from_slice(&part[..read]);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\n{\"nodes\":[]}").unwrap();
        String::from_utf8(request).unwrap()
    });
    let nodes = context(folder.path(), &["nodes", "--url", &stranger, "--json"]);
    assert_eq!(nodes.code, Some(0), "{nodes:?}");
    assert!(!asked.join().unwrap().to_lowercase().contains("authorization"));

    let both = context(folder.path(), &["nodes", "--url", &stranger, "--context", "prod"]);
    assert_eq!(both.code, Some(2), "{both:?}");
    assert!(both.err.contains("leave out --context (prod) or --url ("), "{both:?}");
    assert!(both.err.contains("For more information, try '--help'"), "{both:?}");
}

#[test]
fn files_that_are_not_there_are_named_when_a_context_is_added() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "a").unwrap();
    let add = ["context", "add", "prod", "https://bus.example", "--cacert", "nope.pem", "--token-file"];
    let added = context(folder.path(), &[&add[..], &["token"]].concat());
    assert!(added.code == Some(0) && added.err.contains("warning: --cacert /"), "{added:?}");
    assert!(added.err.contains("nope.pem: there is no such file") && !added.err.contains("--token-file"), "{added:?}");
    let added = context(folder.path(), &[&add[..], &["nope.token"]].concat());
    assert!(
        added.err.contains("warning: --token-file /") && added.err.contains("nope.token: there is no"),
        "{added:?}"
    );
}

#[test]
fn mistakes_are_named_and_an_address_helps_over_a_damaged_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str]| context(folder.path(), arguments);
    assert_eq!(here(&["context", "add", "staging", "http://127.0.0.1:1"]).code, Some(0));
    for wrong in
        [&["nodes", "--context", "stagin"][..], &["context", "use", "stagin"], &["context", "remove", "stagin"]]
    {
        let ended = here(wrong);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains("there is no context \"stagin\"; did you mean `staging`?"), "{ended:?}");
    }
    assert!(here(&["context", "add", "x", "127.0.0.1:7400"]).err.contains("write http:// before it"));

    let file = folder.path().join("configuration/tidings/contexts.toml");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777, 0o600);
    fs::write(&file, "current = 7").unwrap();
    let damaged = here(&["nodes"]);
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    assert!(damaged.err.contains("contexts.toml cannot be read") && damaged.err.contains("--url"), "{damaged:?}");
    let daemon = Daemon::start();
    assert_eq!(here(&["nodes", "--url", &daemon.url]).code, Some(0));
}

/// A flag is for this command, a variable for all of a shell: the flag is what was meant.
#[test]
fn a_flag_wins_over_a_variable_and_two_of_a_kind_contradict_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start();
    let dead = "http://127.0.0.1:1";
    for (name, url) in [("here", daemon.url.as_str()), ("dead", dead)] {
        assert_eq!(context(folder.path(), &["context", "add", name, url]).code, Some(0));
    }
    let nodes = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = tidings(folder.path(), &[&["nodes", "--json"], arguments].concat());
        command.envs(variables.iter().copied());
        run(command, "")
    };
    let (by_name, by_url) = (("TIDINGS_CONTEXT", "dead"), ("TIDINGS_URL", dead));
    for (arguments, variables) in [
        (&["--url", &daemon.url][..], &[by_name][..]),
        (&["--url", &daemon.url], &[by_name, by_url]),
        (&["--context", "here"], &[by_url]),
        (&["--context", "here"], &[by_url, by_name]),
        (&[], &[("TIDINGS_CONTEXT", "here")]),
        (&[], &[("TIDINGS_URL", &daemon.url)]),
        (&[], &[("TIDINGS_URL", &daemon.url), ("TIDINGS_CONTEXT", "")]),
        (&["--context", "here"], &[("TIDINGS_URL", "")]),
    ] {
        let ended = nodes(arguments, variables);
        assert_eq!(ended.code, Some(0), "{arguments:?} {variables:?} {ended:?}");
    }
    for (arguments, variables, named) in [
        (&["--url", &daemon.url, "--context", "here"][..], &[][..], ["--context (here)", "--url ("]),
        // The flag has the value of the variable by chance.
        (&["--url", dead, "--context", "here"], &[by_url], ["--context (here)", "--url ("]),
        (&[], &[by_url, by_name], ["TIDINGS_CONTEXT (dead)", "TIDINGS_URL ("]),
    ] {
        let ended = nodes(arguments, variables);
        // Variables are no part of the command line.
        let code = if arguments.is_empty() { 1 } else { 2 };
        assert_eq!(ended.code, Some(code), "{arguments:?} {variables:?} {ended:?}");
        for named in named {
            assert!(ended.err.contains(named), "{named}: {ended:?}");
        }
    }
}

#[test]
fn a_name_that_a_shell_would_split_and_an_address_with_a_password_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let add = |name: &str, url: &str| context(folder.path(), &["context", "add", "--", name, url]);
    let long = "x".repeat(65);
    for name in ["", "-x", "bad name/../x", "a b", ".hidden", "a/b", "a\"b", "é", &long] {
        let ended = add(name, "http://127.0.0.1:1");
        assert_eq!(ended.code, Some(2), "{name:?}: {ended:?}");
        assert!(ended.err.contains("1 to 64 letters, digits, `.`, `_` or `-`"), "{name:?}: {ended:?}");
    }
    for url in ["http://user:s3cret@127.0.0.1:1", "http://127.0.0.1:1,http://s3cret@127.0.0.1:2"] {
        let ended = add("prod", url);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains("user name or password") && ended.err.contains("--token-file"), "{ended:?}");
        assert!(!ended.err.contains("s3cret"), "{ended:?}");
    }
    assert_eq!(context(folder.path(), &["context", "list", "--json"]).out, "");
    for name in ["a", "prod-eu_1.x", &long[1..]] {
        assert_eq!(add(name, "http://127.0.0.1:1").code, Some(0), "{name}");
    }
}
