//! The commands as a user runs them: output on stdout and stderr, and exit codes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::Value;

use crate::support::daemon::{Daemon, Ended, Running, run, tidings};

const SALE: [&str; 6] =
    ["publish", "inventory-change", "productId=123", "oldQuantity=100", "newQuantity=95", "reason=a sale"];

/// Parses a line of NDJSON.
fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// Asserts that a command failed with this exit code, with nothing on stdout and each of `fragments` on stderr.
fn assert_fails(ended: &Ended, code: i32, fragments: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.out, "", "only data belongs on stdout");
    for fragment in fragments {
        assert!(ended.err.contains(fragment), "{fragment:?} is not in {}", ended.err);
    }
}

#[test]
fn tail_prints_a_published_event_at_once() {
    let daemon = Daemon::start();
    let as_json = daemon.tail(&["inventory-change", "--json", "--count", "1"]);
    let readable = daemon.tail(&[]);
    let published = daemon.run(&SALE);
    assert_eq!(published.code, Some(0), "{published:?}");

    let line = json(&as_json.line());
    assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), ["position", "event"]);
    assert_eq!(line["event"]["data"]["newQuantity"], 95);
    assert_eq!(as_json.ended().code, Some(0));

    let line = readable.line();
    let position =
        format!("  {}", json(&format!("\"{}\"", published.out.split("  ").nth(1).unwrap())).as_str().unwrap());
    assert!(line.ends_with(&position), "{line:?}");
    assert!(
        line.contains("  inventory-change  123  productId=123 oldQuantity=100 newQuantity=95 reason=\"a sale\""),
        "{line:?}"
    );
    assert!(!line.contains('\u{1b}'), "colour is for terminals");
    readable.signal("INT");
    assert_eq!(readable.ended().code, Some(0));
}

#[test]
fn a_refused_event_is_reported_with_every_mistake() {
    let daemon = Daemon::start();
    let wrong = ["publish", "inventory-change", "productId=123", "oldQuantity=many", "newQuantty=95", "reason=sale"];
    assert_fails(
        &daemon.run(&wrong),
        1,
        &[
            "(invalid-event)",
            "/data/oldQuantity: must be of type integer",
            "/data/newQuantity: is required",
            "/data/newQuantty: unknown field; did you mean `newQuantity`?",
        ],
    );
    assert_fails(
        &daemon.run(&["publish", "inventory-chang", "a=1"]),
        1,
        &["there is no event type \"inventory-chang\" here; did you mean `inventory-change`?"],
    );
    assert_fails(&daemon.run(&["publish", "inventory-change", "--data", "{"]), 2, &["--data is not JSON"]);
    assert_fails(&daemon.run(&["publish", "inventory-change"]), 2, &["nothing to publish"]);
    assert_fails(&daemon.run(&["tail", "--attempts", "3"]), 2, &["give --forward-to or --exec, too", "Usage: tidings"]);
    let latest = ["tail", "--exec", "true", "--since", "latest", "--position-file", "p"];
    assert_fails(&daemon.run(&latest), 2, &["or give another --since"]);
    let forward = ["tail", "--forward-to", "http://127.0.0.1:1/", "--skip-failed"];
    assert_fails(&daemon.run(&forward), 2, &["give --attempts, too"]);
    let position = ["tail", "--since", "k3:1"];
    assert_fails(&daemon.run(&position), 2, &["is a position in the log of one channel, and all are followed"]);
    assert_fails(&daemon.run(&["bench", "--data", "{"]), 2, &["--data is not JSON", "Usage: tidings bench"]);
    assert_fails(&daemon.run(&["publish", "inventory-change", "productId"]), 2, &["expected field=value"]);
}

#[test]
fn an_id_is_published_once() {
    let daemon = Daemon::start();
    let arguments = [&SALE[..], &["--id", "sale-1", "--json"]].concat();
    let (first, again) = (json(&daemon.run(&arguments).out), json(&daemon.run(&arguments).out));
    assert_eq!((first["id"].as_str(), first["duplicate"].as_bool()), (Some("sale-1"), Some(false)));
    assert_eq!((&again["position"], again["duplicate"].as_bool()), (&first["position"], Some(true)));
}

/// A fake daemon whose broker is unavailable. Answers one request; returns its address and the events of the request.
fn daemon_without_broker() -> (String, JoinHandle<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
            length = line.strip_prefix("content-length: ").map_or(length, |length| length.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        // A Retry-After that exceeds every retry timeout, so that the command gives up at once.
        let response =
            "HTTP/1.1 503 X\r\nretry-after: 3600\r\ncontent-length: 29\r\n\r\n{\"code\":\"broker-unavailable\"}";
        stream.get_mut().write_all(response.as_bytes()).unwrap();
        serde_json::from_slice(&body).unwrap()
    });
    (url, serving)
}

#[test]
fn an_unconfirmed_event_is_reported_with_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let data = "{\"orderId\":\"1\",\"newStatus\":\"shipped\"}";
    let (url, serving) = daemon_without_broker();
    let ended = run(tidings(folder.path(), &["publish", "order-status", "--data", data, "--url", &url]), "");
    let event = serving.join().unwrap();
    let id = format!("--id {}", event["id"].as_str().unwrap());
    assert_fails(&ended, 1, &["(broker-unavailable)", "not known", &id]);

    let (url, serving) = daemon_without_broker();
    let ended =
        run(tidings(folder.path(), &["publish", "order-status", "-", "--url", &url]), &format!("{data}\n\n{data}\n"));
    let events = serving.join().unwrap();
    let prefix = events[0]["id"].as_str().unwrap().strip_suffix("-1").unwrap();
    assert_eq!(events[1]["id"], format!("{prefix}-3"));
    assert_fails(
        &ended,
        1,
        &["(broker-unavailable)", "not known whether lines 1 to 3", &format!("again with --id-prefix {prefix}:")],
    );
}

#[test]
fn lines_of_stdin_are_published_in_order() {
    let daemon = Daemon::start();
    let tail = daemon.tail(&["order-status", "--json", "--count", "3000"]);
    let lines: String = (0..3000).map(|n| format!("{{\"orderId\":\"{n}\",\"newStatus\":\"shipped\"}}\n\n")).collect();
    let published = run(daemon.command(&["publish", "order-status", "-", "--json"]), &lines);
    assert_eq!(published.code, Some(0), "{}", published.err);
    let offsets: Vec<u64> = published
        .out
        .lines()
        .map(|line| json(line)["position"].as_str().unwrap().split_once(':').unwrap().1.parse().unwrap())
        .collect();
    assert_eq!(offsets, (1..=3000).collect::<Vec<_>>());
    for n in 0..3000 {
        assert_eq!(json(&tail.line())["event"]["subject"], n.to_string());
    }
    assert_eq!(tail.ended().code, Some(0));

    let event =
        "{\"type\":\"data-update\",\"id\":\"e\",\"data\":{\"resource\":\"r\",\"id\":\"1\",\"action\":\"update\"}}";
    let whole = run(daemon.command(&["publish", "-", "--json"]), event);
    assert_eq!(json(&whole.out)["id"], "e");
}

#[test]
fn an_invalid_line_is_reported_with_its_number() {
    let daemon = Daemon::start();
    let good = "{\"orderId\":\"1\",\"newStatus\":\"shipped\"}\n";
    let publish = |lines: &str| run(daemon.command(&["publish", "order-status", "-"]), lines);
    assert_fails(
        &publish(&format!("{good}\n{{\"orderId\":1}}\n{good}")),
        1,
        &[
            "error: line 3: ",
            "line 3: /data/orderId: ",
            "line 3: /data/newStatus: is required",
            "published: 1 in ",
            "All lines before line 3 were published. Nothing from line 3 on was published.",
        ],
    );
    assert_fails(
        &publish(&format!("{good}{{\"orderId\"\n{good}")),
        1,
        &["line 2: not JSON", "published: 1 in ", "Nothing from line 2 on was published"],
    );
    assert_fails(&publish(&format!("{good}\u{1}{good}\u{1}\n")), 1, &["line 2: not JSON"]);
    let large = format!("{{\"orderId\":\"{}\",\"newStatus\":\"shipped\"}}\n", "x".repeat(70_000));
    assert_fails(
        &publish(&format!("{good}{good}{large}{good}")),
        1,
        &["line 3: ", "payload-too-large", "published: 2 in ", "Nothing from line 3 on was published"],
    );
}

#[test]
fn the_lines_before_one_that_is_not_text_are_published() {
    let daemon = Daemon::start();
    let input = daemon.folder.path().join("input");
    let good = b"{\"orderId\":\"1\",\"newStatus\":\"shipped\"}\n";
    fs::write(&input, [&good[..], good, b"\xff\n", good].concat()).unwrap();
    let mut command = daemon.command(&["publish", "order-status", "-"]);
    command.stdin(fs::File::open(&input).unwrap());
    let ended = Running::start(command).ended();
    assert_fails(
        &ended,
        1,
        &["published: 2 in ", "line 3: the line is not valid UTF-8", "Nothing from line 3 on was published"],
    );
}

#[test]
fn the_same_input_is_published_again_safely() {
    let daemon = Daemon::start();
    let mut lines: Vec<_> = (0..2500).map(|n| format!("{{\"orderId\":\"{n}\",\"newStatus\":\"shipped\"}}")).collect();
    let correct = std::mem::replace(&mut lines[1700], "{\"orderId\":1}".to_owned());
    let ended = run(daemon.command(&["publish", "order-status", "-"]), &lines.join("\n"));
    let told = ["published: 1,700 in ", "All lines before line 1701 were published. Nothing from line 1701 on"];
    assert_fails(&ended, 1, &told);
    let prefix = ended.err.split("--id-prefix ").nth(1).unwrap().split(':').next().unwrap();
    lines[1700] = correct;
    let again = run(daemon.command(&["publish", "order-status", "-", "--id-prefix", prefix]), &lines.join("\n"));
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(
        again.err.contains("published: 2,500 in ") && again.err.contains("1,700 of them had been published before")
    );
    let channels = daemon.run(&["channels", "--json"]).out;
    let orders = channels.lines().map(json).find(|channel| channel["type"] == "order-status").unwrap();
    assert_eq!(orders["retained"], 2500);

    // A line with an id of its own keeps it.
    let event = r#"{"type":"order-status","id":"own","data":{"orderId":"1","newStatus":"shipped"}}"#;
    let whole = run(daemon.command(&["publish", "-", "--json", "--id-prefix", "p"]), &format!("{event}\n"));
    assert_eq!(json(&whole.out)["id"], "own");
    assert_fails(
        &daemon.run(&[&SALE[..], &["--id-prefix", "p"]].concat()),
        2,
        &["--id-prefix is for the events of stdin"],
    );
}

#[test]
fn the_schema_decides_the_types_of_a_filter() {
    let daemon = Daemon::start();
    let tail = daemon.tail(&["--where", "newQuantity=7", "--where", "newQuantity=8", "--json", "--count", "2"]);
    for quantity in ["newQuantity=6", "newQuantity=7", "newQuantity=9", "newQuantity=8"] {
        let published =
            daemon.run(&["publish", "inventory-change", "productId=7", "oldQuantity=7", quantity, "reason=r"]);
        assert_eq!(published.code, Some(0), "{published:?}");
    }
    assert_eq!(json(&tail.line())["event"]["data"]["newQuantity"], 7);
    assert_eq!(json(&tail.line())["event"]["data"]["newQuantity"], 8);
    assert_eq!(tail.ended().code, Some(0));

    assert_fails(&daemon.run(&["tail", "nowhere"]), 1, &["nowhere", "unknown-channel", "tidings channels` lists"]);
    assert_fails(&daemon.run(&["tail", "inventory-change", "--where", "colour=1"]), 1, &["colour", "unknown-field"]);
    assert_fails(&daemon.run(&["tail", "--where", "colour=1"]), 1, &["no channel has the field \"colour\""]);
    for channel in [&["order-status"][..], &[]] {
        let misspelt = [&["tail"], channel, &["--where", "newStatus=shippd"]].concat();
        assert_fails(&daemon.run(&misspelt), 1, &["newStatus is never \"shippd\"", "did you mean `shipped`?"]);
    }
    assert_fails(&daemon.run(&["tail", "--where", "colour"]), 2, &["expected field=value"]);
}

#[test]
fn tail_reconnects_and_reports_missed_events() {
    let daemon = Daemon::start();
    let tail = daemon.tail(&["order-status", "--json"]);
    let Daemon { process, url, folder } = daemon;
    process.signal("KILL");
    process.ended();
    tail.said("disconnected");
    let daemon = Daemon::with(&["--listen", url.trim_start_matches("http://")], folder);
    tail.said("connected again");
    // The in-memory log was lost, so the events after the position of the tail are gone.
    tail.said("are lost: the log began anew");
    daemon.run(&["publish", "order-status", "orderId=2", "newStatus=shipped"]);
    assert_eq!(json(&tail.line())["event"]["subject"], "2");
}

#[test]
fn tail_reports_a_lost_log_in_one_line() {
    let daemon = Daemon::start();
    let tail = daemon.tail(&["--count", "2", "--json"]);
    daemon.run(&SALE);
    let position = json(&tail.line())["position"].as_str().unwrap().to_owned();
    let Daemon { process, url, folder } = daemon;
    process.signal("KILL");
    process.ended();
    let daemon = Daemon::with(&["--listen", url.trim_start_matches("http://")], folder);
    let line = tail.said("the log was lost");
    assert!(line.contains(&format!("after inventory-change {position}, and in 4 channels")), "{line}");
    daemon.run(&SALE);
    tail.line();
    let ended = tail.ended();
    assert!(ended.code == Some(0) && !ended.err.contains("lost"), "{ended:?}");
}

#[test]
fn an_age_that_the_log_no_longer_reaches_is_reported() {
    let daemon =
        Daemon::with(&["--listen", "127.0.0.1:0", "--log-max-events", "5"], tempfile::tempdir().expect("a folder"));
    let orders: String = (1..=10).map(|n| format!("{{\"orderId\":\"{n}\",\"newStatus\":\"shipped\"}}\n")).collect();
    run(daemon.command(&["publish", "order-status", "-"]), &orders);
    let tail = daemon.run(&["tail", "--since", "10m", "--count", "5", "--json"]);
    let lines: Vec<_> = tail.out.lines().map(json).collect();
    assert_eq!(lines.len(), 5, "{tail:?}");
    for (line, n) in lines.iter().zip(6..) {
        assert_eq!(line["event"]["subject"], n.to_string());
    }
    let epoch = lines[0]["position"].as_str().unwrap().split(':').next().unwrap();
    let reports = [
        format!("order-status: the events after {epoch}:0, up to and including {epoch}:5, are lost"),
        format!("order-status: the log no longer has the events after {epoch}:0 up to {epoch}:5"),
    ];
    let ended = [tail, daemon.run(&["history", "--since", "10m"])];
    for (ended, report) in ended.iter().zip(&reports) {
        assert!(ended.err.contains(report), "{report:?} is not in {ended:?}");
        // The other channels have lost nothing.
        assert_eq!(ended.err.matches("the events after").count(), 1, "{ended:?}");
    }
}

#[test]
fn tail_ends_quietly_when_its_stdout_is_closed() {
    let daemon = Daemon::start();
    let mut tail = daemon.tail(&["order-status"]);
    let publish = || daemon.run(&["publish", "order-status", "orderId=1", "newStatus=shipped"]);
    publish();
    tail.line();
    tail.stop_reading();
    // The first line ends the reader thread. A later one is written to the closed pipe.
    publish();
    publish();
    publish();
    let ended = tail.ended();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn times_are_local_and_say_their_offset() {
    let daemon = Daemon::start();
    let event = |time: &str| {
        format!(r#"{{"type":"order-status","time":"{time}","data":{{"orderId":"1","newStatus":"shipped"}}}}"#)
    };
    let events = [event("2020-01-31T20:00:00Z"), event("2020-07-31T20:00:00.5Z")].join("\n");
    assert_eq!(run(daemon.command(&["publish", "-"]), &events).code, Some(0));
    for command in [&["history", "order-status"][..], &["tail", "order-status", "--since", "start", "--count", "2"]] {
        // Two names of the system's database, and a rule of POSIX.
        for (zone, more, times) in [
            ("Asia/Kolkata", &[][..], ["2020-02-01 01:30:00.000+05:30", "2020-08-01 01:30:00.500+05:30"]),
            ("Europe/Berlin", &[], ["2020-01-31 21:00:00.000+01:00", "2020-07-31 22:00:00.500+02:00"]),
            ("EST5", &[], ["2020-01-31 15:00:00.000-05:00", "2020-07-31 15:00:00.500-05:00"]),
            ("EST5", &["--utc"], ["2020-01-31 20:00:00.000Z", "2020-07-31 20:00:00.500Z"]),
        ] {
            if zone.contains('/') && !std::path::Path::new("/usr/share/zoneinfo").join(zone).exists() {
                println!("this system has no time zone {zone}");
                continue;
            }
            let mut command = daemon.command(&[command, more].concat());
            command.env("TZ", zone);
            let out = run(command, "").out;
            let lines: Vec<_> = out.lines().collect();
            assert!(lines[0].starts_with(times[0]) && lines[1].starts_with(times[1]), "{zone} {out}");
        }
    }
}

#[test]
fn suggested_commands_call_the_program_as_the_user_did() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("my tidings");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tidings"), &odd).unwrap();
    for (name, shown) in
        [("./my tidings", "'./my tidings'"), (env!("CARGO_BIN_EXE_tidings"), env!("CARGO_BIN_EXE_tidings"))]
    {
        let mut command = std::process::Command::new(name);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]).current_dir(folder.path());
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let daemon = Running::start(command);
        let line = json(&daemon.said("\"listening\""));
        let (tail, url) = (line["tail"].as_str().unwrap(), line["url"].as_str().unwrap());
        assert_eq!(tail, format!("{shown} tail inventory-change --url {url}"));
    }
}

#[test]
fn channels_are_listed() {
    let daemon = Daemon::start();
    daemon.run(&SALE);
    let table = daemon.run(&["channels"]).out;
    assert!(table.starts_with("CHANNEL "), "{table}");
    assert!(table.lines().any(|line| line.starts_with("inventory-change ") && line.contains(":1 ")), "{table}");
    let lines = daemon.run(&["channels", "--json"]).out;
    let sales = lines.lines().map(json).find(|channel| channel["type"] == "inventory-change").unwrap();
    assert_eq!(sales["retained"], 1);
}

#[test]
fn an_address_in_use_is_reported_with_the_flag_that_chooses_another() {
    let daemon = Daemon::start();
    let listen = daemon.url.trim_start_matches("http://");
    assert_fails(&daemon.run(&["serve", "--listen", listen]), 1, &["cannot listen on ", listen, "--listen"]);
}

#[test]
fn proxy_variables_are_ignored() {
    let daemon = Daemon::start();
    let mut command = daemon.command(&["channels", "--json"]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let ended = run(command, "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_wrong_url_and_a_wrong_command_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    assert_fails(&run(tidings(folder.path(), &["tail", "--url", "nonsense"]), ""), 1, &["is not a valid daemon URL"]);
    assert_fails(&run(tidings(folder.path(), &["tial"]), ""), 2, &["tail"]);
}

#[test]
fn custom_types_are_served_exported_and_generated() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |arguments: &[&str]| run(tidings(folder.path(), arguments), "");
    fs::create_dir(folder.path().join("types")).unwrap();
    let own = r#"{"type":"object","x-tidings-key":"sku","properties":{"sku":{"type":"string"},"stars":{"type":"integer"}},
        "required":["sku"],"additionalProperties":false}"#;
    fs::write(folder.path().join("types/review.schema.json"), own).unwrap();

    let checked = in_folder(&["schema", "check", "types/review.schema.json"]);
    assert_eq!(checked.out, "types/review.schema.json: type review, fields sku, stars, key sku\n");
    for (command, file) in [(["schema", "export"], "review.schema.json"), (["codegen", "typescript"], "events.ts")] {
        let all = [&command[..], &["--schemas", "types", "--out", "out"]].concat();
        let checking = [&all[..], &["--check"]].concat();
        assert_fails(&in_folder(&checking), 1, &[&format!("out/{file} is missing")]);
        assert_eq!(in_folder(&all).code, Some(0));
        assert_eq!(in_folder(&checking).code, Some(0));
        fs::write(folder.path().join("out").join(file), "x").unwrap();
        assert_fails(&in_folder(&checking), 1, &[&format!("out/{file} differs")]);
    }
    assert_eq!(in_folder(&["schema", "export", "--schemas", "types", "--out", "out"]).code, Some(0));
    assert_fails(
        &in_folder(&["schema", "export", "--out", "out", "--check"]),
        1,
        &["review.schema.json is not generated"],
    );

    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--schemas", "types"], folder);
    let tail = daemon.tail(&["review", "--json"]);
    daemon.run(&["publish", "review", "sku=7", "stars=5"]);
    let event = &json(&tail.line())["event"];
    assert_eq!((event["subject"].as_str(), event["data"]["stars"].as_i64()), (Some("7"), Some(5)));
}

#[test]
fn an_invalid_custom_type_prevents_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |arguments: &[&str]| run(tidings(folder.path(), arguments), "");
    assert_fails(&in_folder(&["serve", "--schemas", "types"]), 1, &["cannot read the schemas folder types: "]);
    fs::create_dir(folder.path().join("types")).unwrap();
    fs::write(folder.path().join("types/review.schema.json"), r#"{"properties":{"a":{"type":"strin"}}}"#).unwrap();
    let place = "types/review.schema.json: /properties/a/type: ";
    assert_fails(&in_folder(&["serve", "--schemas", "types"]), 1, &[place]);
    assert_fails(&in_folder(&["schema", "check", "types/review.schema.json"]), 1, &[place]);
}

#[test]
fn every_mistake_in_the_custom_types_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |arguments: &[&str]| run(tidings(folder.path(), arguments), "");
    fs::create_dir(folder.path().join("types")).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join("types").join(name), text).unwrap();
    write("one.schema.json", r#"{"propertes":{"a":{}}}"#);
    write("two.schema.json", r#"{"properties":{"a":{"tpye":"string"}}}"#);
    let both = [
        "types/one.schema.json: /propertes: there is no keyword \"propertes\"; did you mean `properties`?",
        "types/two.schema.json: /properties/a/tpye: ",
    ];
    for command in
        [&["serve", "--listen", "127.0.0.1:0"][..], &["config", "check"], &["codegen", "typescript", "--out", "x"]]
    {
        assert_fails(&in_folder(&[command, &["--schemas", "types"]].concat()), 1, &both);
    }
    for paths in [&["types"][..], &["types/one.schema.json", "types/two.schema.json"]] {
        assert_fails(&in_folder(&[&["schema", "check"], paths].concat()), 1, &both);
    }
    // An unknown annotation, a file of another program and a misnamed file do not prevent the start.
    write("one.schema.json", r#"{"unit":"kg"}"#);
    write("two.schema.json", "{}");
    write("._two.schema.json", "no JSON");
    write("three.json", "{}");
    let warned = in_folder(&["schema", "check", "types"]);
    assert_eq!((warned.code, warned.out.lines().count()), (Some(0), 2), "{warned:?}");
    for words in ["/unit: there is no keyword \"unit\"", "types/three.json is skipped: rename it to three.schema.json"]
    {
        assert!(warned.err.contains(words), "{words:?} is not in {}", warned.err);
    }
    assert!(!warned.err.contains("._two"), "{}", warned.err);
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--schemas", "types"], folder);
    assert!(daemon.run(&["channels"]).out.contains("\ntwo "));
}

#[test]
fn bench_counts_deliveries() {
    let daemon = Daemon::start();
    let ended = daemon.run(&["bench", "--connections", "5", "--rate", "50", "--seconds", "1", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = json(ended.out.lines().last().unwrap());
    assert_eq!((&report["published"], &report["deliveries"], &report["lost"]), (&50.into(), &250.into(), &0.into()));
    for name in ["deliveries_per_s", "p50_us", "p99_us"] {
        assert!(report[name].as_u64().unwrap() > 0, "{name}: {report}");
    }
    assert_fails(&daemon.run(&["bench", "--channel", "order-status"]), 2, &["--data"]);
    assert_fails(
        &daemon.run(&["bench", "--channel", "nonsense"]),
        1,
        &["there is no channel \"nonsense\"", "order-status"],
    );
    assert_fails(&daemon.run(&["bench", "--data", "{\"productId\":7}"]), 1, &["(invalid-event)", "/data/oldQuantity"]);
}

#[test]
fn bench_resolves_a_host_name() {
    let daemon = Daemon::start();
    // `localhost` has an IPv4 and an IPv6 address, and the daemon listens on one of them.
    let url = daemon.url.replace("127.0.0.1", "localhost");
    let ended = daemon.run(&["bench", "--url", &url, "--connections", "2", "--rate", "10", "--seconds", "1"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn bench_reports_partial_results_when_the_daemon_stops() {
    let daemon = Daemon::start();
    let tail = daemon.tail(&["--json"]);
    let bench = Running::start(daemon.command(&["bench", "--connections", "5", "--seconds", "60", "--json"]));
    // One request holds at most 250 events: after these, one was answered.
    for _ in 0..=250 {
        tail.line();
    }
    daemon.process.signal("KILL");
    bench.said("publishing ended after");
    let ended = bench.ended();
    let report = json(ended.out.lines().last().unwrap());
    assert_eq!((ended.code, &report["disconnected"]), (Some(1), &5.into()), "{report}");
}

#[test]
fn bench_reports_partial_results_after_a_signal() {
    let daemon = Daemon::start();
    for (signal, name) in [("TERM", "SIGTERM"), ("INT", "Ctrl-C")] {
        let tail = daemon.tail(&["--json"]);
        let bench = Running::start(daemon.command(&["bench", "--connections", "5", "--seconds", "60", "--json"]));
        // One request holds at most 250 events: after these, one was answered.
        for _ in 0..=250 {
            tail.line();
        }
        bench.signal(signal);
        bench.said(&format!("interrupted by {name}"));
        let ended = bench.ended();
        let report = json(ended.out.lines().last().unwrap());
        assert!(ended.code == Some(0) && report["published"].as_u64() > Some(0), "{signal} {ended:?}");
    }
}

#[test]
fn a_signal_stops_the_daemon_cleanly() {
    for signal in ["TERM", "INT"] {
        let daemon = Daemon::start();
        let tail = daemon.tail(&["order-status"]);
        daemon.process.signal(signal);
        tail.said("disconnected: closed by the daemon: 1012");
        assert_eq!(daemon.process.ended().code, Some(0), "{signal}");
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["serve", "publish", "tail", "channels", "bench", "completions"] {
        let help = run(tidings(folder.path(), &[command, "--help"]), "");
        assert!(help.code == Some(0) && help.out.contains("Examples:"), "{help:?}");
    }
    let help = run(tidings(folder.path(), &["serve", "--help"]), "").out;
    assert!(help.contains("--max-event-bytes <VALUE>") && help.contains("[default: 64KiB]"), "{help}");
    let mut bash = tidings(folder.path(), &["completions", "bash"]);
    bash.env("NO_COLOR", "1");
    assert!(Running::start(bash).ended().out.contains("_tidings"));
}
