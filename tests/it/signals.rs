//! The signals of the daemon other than those that stop it: SIGHUP reads the configuration again, the others have no effect.

use std::fs;

use crate::support::daemon::Daemon;

/// A daemon whose `tidings.toml` has this text.
fn daemon(file: &str) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tidings.toml"), file).unwrap();
    Daemon::with(&["--listen", "127.0.0.1:0"], folder)
}

impl Daemon {
    /// Changes the file and sends SIGHUP.
    fn reload(&self, file: &str) {
        fs::write(self.folder.path().join("tidings.toml"), file).unwrap();
        self.process.signal("HUP");
    }

    fn publish(&self) {
        let published = self.run(&["publish", "order-status", "orderId=1", "newStatus=shipped"]);
        assert_eq!(published.code, Some(0), "{published:?}");
    }
}

#[test]
fn sighup_changes_the_log_level_and_names_what_needs_a_restart() {
    let daemon = daemon("log_level = 'info'\ndrain = '5s'\nbroker = 'memory'");
    daemon.reload("log_level = 'debug'\ndrain = '6s'\nheartbeat = '30s'\nbroker = 'file:data'");
    let line = daemon.process.said("the configuration was read again");
    assert!(line.contains("\"log_level\":\"debug\""), "{line}");
    let line = daemon.process.said("need a restart");
    assert!(line.contains("\"settings\":\"drain, broker, heartbeat\""), "{line}");
    // A connection that ends badly is logged with the level debug.
    let mut raw = std::net::TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
    std::io::Write::write_all(&mut raw, b"\0\r\n\r\n").unwrap();
    daemon.process.said("a connection ended badly");
    daemon.publish();
    // The flag still wins over the file, and what is back to the running value needs no restart.
    daemon.reload("log_level = 'info'\ndrain = '5s'\nlisten = '127.0.0.1:1'");
    daemon.process.said("the configuration was read again");
    daemon.process.signal("TERM");
    let ended = daemon.process.ended();
    assert!(ended.code == Some(0) && !ended.err.contains("need a restart"), "{ended:?}");
}

#[test]
fn sighup_with_a_mistake_changes_nothing() {
    let daemon = daemon("log_level = 'info'");
    daemon.reload("log_level = 'debug'\nheartbeet = '1s'\ndrain = 'soon'");
    assert!(daemon.process.said("unknown key heartbeet").contains("the configuration stays as it is"));
    daemon.process.said("drain (tidings.toml:3): expected a duration");
    daemon.reload("log_level = 'info,tidings=nonsense'");
    daemon.process.said("the configuration stays as it is");
    daemon.publish();
    daemon.process.signal("TERM");
    let ended = daemon.process.ended();
    assert!(ended.code == Some(0) && !ended.err.contains("DEBUG"), "{ended:?}");
}

/// The mistakes that only the types, the access file and the tables show: the reload examines them as `config check` does.
#[test]
fn sighup_with_a_mistake_in_a_table_or_in_a_named_file_changes_nothing() {
    let daemon = daemon("log_level = 'info'");
    let wrong = [
        ("auth = 'nope.toml'", "cannot read nope.toml"),
        ("schemas = 'nodir'", "cannot read the schemas folder nodir"),
        ("[[webhook]]\nname = 'w'\nchannels = ['order-statuss']\nurl = 'http://127.0.0.1:1/'", "order-statuss"),
        ("[[bridge]]\nname = 'b'\nredis = 'memcached://127.0.0.1'", "bridge[0].redis"),
        ("[[sink]]\nname = 's'\nchannel = 'order-status'", "sink[0]"),
        ("[[cascade]]\non = 'order-statuss'", "cascade[0]"),
        ("[types.order-statuss]\nlatest = '7d'", "order-statuss"),
        ("[audit]\nfile = 'nodir/audit.ndjson'", "the directory nodir is missing"),
    ];
    for (table, words) in wrong {
        daemon.reload(&format!("log_level = 'debug'\n{table}\n"));
        let line = daemon.process.said(words);
        assert!(line.contains("the configuration stays as it is") && line.contains("ERROR"), "{line}");
        let checked = daemon.run(&["config", "check"]);
        assert!(checked.code == Some(1) && checked.err.contains(words), "{checked:?}");
    }
    // All mistakes of one file.
    let all = wrong.iter().filter(|(table, _)| !table.starts_with("schemas")).map(|(table, _)| *table);
    daemon.reload(&format!("log_level = 'debug'\n{}\n", all.collect::<Vec<_>>().join("\n")));
    daemon.process.said("nope.toml");
    daemon.process.said("types: there is no event type");
    daemon.process.said("bridge[0].redis");
    daemon.process.said("nodir is missing");
    daemon.process.said("cascade[0]");
    daemon.publish();
    daemon.process.signal("TERM");
    let ended = daemon.process.ended();
    assert!(
        ended.code == Some(0) && !ended.err.contains("DEBUG") && !ended.err.contains("need a restart"),
        "{ended:?}"
    );
}

#[test]
fn other_signals_do_not_end_the_daemon() {
    let daemon = Daemon::start();
    for signal in ["USR1", "USR2"] {
        daemon.process.signal(signal);
        daemon.process.said(&format!("SIG{signal}"));
    }
    daemon.process.signal("PIPE");
    daemon.publish();
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.ended().code, Some(0));
}
