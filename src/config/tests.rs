//! Tests of [`load`]: which layer wins, which configurations are refused, and with which errors.

use super::*;

/// Loads a configuration from the text of a `tidings.toml`, variables and flags.
fn load_from(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Loaded, Mistakes> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tidings.toml"), file).unwrap();
    load(Sources {
        flags: flags.iter().map(|(name, text)| (*name, (*text).into())).collect(),
        env: env.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
        file: None,
        directory: directory.path().into(),
        log_format: LogFormat::Pretty,
    })
}

/// The only mistake of such a configuration.
fn mistake(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> String {
    let mistakes = load_from(file, env, flags).unwrap_err().0;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes.into_iter().next().unwrap()
}

fn source(loaded: &Loaded, name: &str) -> String {
    loaded.values.iter().find(|value| value.name == name).unwrap().source.to_string()
}

#[test]
fn a_variable_that_resembles_no_setting_gets_no_suggestion() {
    let warnings = |variable| load_from("", &[(variable, "x")], &[]).unwrap().warnings.join(", ");
    for variable in ["TIDINGS_FOO", "TIDINGS_PORT", "TIDINGS_SERVICE_HOST", "TIDINGS_"] {
        let warning = warnings(variable);
        assert!(warning.contains(variable) && !warning.contains("did you mean"), "{warning}");
    }
    for (variable, near) in
        [("TIDINGS_URLS", "URL"), ("TIDINGS_LISTN", "LISTEN"), ("TIDINGS_MAX_EVENTS_BYTES", "MAX_EVENT_BYTES")]
    {
        let warning = warnings(variable);
        assert!(warning.contains(&format!("did you mean `TIDINGS_{near}`?")), "{warning}");
    }
}

#[test]
fn the_defaults_apply_without_any_source() {
    let loaded = load_from("", &[], &[]).unwrap();
    assert_eq!(loaded.config.server.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(loaded.config.broker.broker, BrokerUrl::Memory);
    assert_eq!(loaded.config.websocket.heartbeat, Duration::from_secs(25));
    assert!(loaded.values.iter().all(|value| value.source == Source::Default));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_broker_whose_calls_have_a_price_has_a_longer_pulse() {
    let pulse = |flags: &[(&'static str, &str)]| {
        let loaded = load_from("", &[], flags).unwrap();
        let value = loaded.values.iter().find(|value| value.name == "broker_pulse").unwrap();
        (loaded.config.broker.pulse.as_secs(), value.value.clone().unwrap(), value.source.to_string())
    };
    let of = |seconds, source: &str| (seconds, format!("{seconds}s"), source.to_owned());
    let upstash = ("broker", "upstash+https://t0ken@example.com");
    assert_eq!(pulse(&[("broker", "redis://h")]), of(1, "default"));
    assert_eq!(pulse(&[upstash]), of(60, "default"));
    assert_eq!(pulse(&[upstash, ("broker_pulse", "2s")]), of(2, "--broker-pulse"));
}

#[test]
fn every_listed_setting_is_parsed() {
    for setting in settings().iter().filter(|setting| !["schemas", "auth"].contains(&setting.name)) {
        assert!(mistake("", &[], &[(setting.name, "\u{0}")]).starts_with(setting.name));
    }
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let file = "heartbeat = \"1s\"\ndrain = \"2s\"\nmax_subscriptions = 1_000\nlisten = \"127.0.0.1:1\"";
    let env = [("TIDINGS_HEARTBEAT", "3s"), ("TIDINGS_DRAIN", "4s"), ("TIDINGS_LISTEN", "")];
    let loaded = load_from(file, &env, &[("heartbeat", "5s")]).unwrap();
    assert_eq!(loaded.config.websocket.heartbeat, Duration::from_secs(5));
    assert_eq!(loaded.config.server.drain, Duration::from_secs(4));
    assert_eq!(loaded.config.websocket.max_subscriptions, 1_000);
    assert_eq!(source(&loaded, "heartbeat"), "--heartbeat");
    assert_eq!(source(&loaded, "drain"), "TIDINGS_DRAIN");
    assert_eq!(source(&loaded, "max_subscriptions"), "tidings.toml:3");
    assert_eq!(source(&loaded, "listen"), "tidings.toml:4");
    assert_eq!(source(&loaded, "prefix"), "default");
}

#[test]
fn the_defaults_file_is_a_valid_configuration() {
    let loaded = load_from(DEFAULTS, &[], &[]).unwrap();
    assert_eq!(loaded.config.limits.max_event_bytes, 64 * 1024);
}

#[test]
fn a_duplicate_key_is_named_without_its_value() {
    let text = "log_level = 'info'\nbroker = 'memory'\nbroker = 'redis://:secret@redis'";
    assert_eq!(mistake(text, &[], &[]), "tidings.toml:3: the key broker occurs twice: remove one");
}

#[test]
fn an_unknown_key_gets_a_suggestion() {
    assert_eq!(
        mistake("\n\nmax_events_bytes = 1", &[], &[]),
        "tidings.toml:3: unknown key max_events_bytes; did you mean `max_event_bytes`? (`tidings config show` lists the settings)"
    );
    assert!(mistake("max-event-bytes = 1", &[], &[]).contains("did you mean `max_event_bytes`?"));
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let env = [("TIDINGS_HEARTBEET", "1s"), ("TIDINGS_URL", "x"), ("TIDINGS_TOKEN", "y"), ("OTHER", "z")];
    let loaded = load_from("", &env, &[]).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "unknown variable TIDINGS_HEARTBEET is ignored; did you mean `TIDINGS_HEARTBEAT`? (`tidings config show` lists the settings)"
        ]
    );
}

#[test]
fn the_error_of_a_malformed_value_names_its_source_and_what_was_expected() {
    let expected = "expected a duration such as 250ms, 25s, 10m, 1h or 7d (write 25s for 25 seconds), not \"25\"";
    assert_eq!(mistake("heartbeat = 25", &[], &[]), format!("heartbeat (tidings.toml:1): {expected}"));
    assert_eq!(mistake("", &[("TIDINGS_HEARTBEAT", "25")], &[]), format!("heartbeat (TIDINGS_HEARTBEAT): {expected}"));
    assert_eq!(mistake("", &[], &[("heartbeat", "25")]), format!("heartbeat (--heartbeat): {expected}"));
    assert!(mistake("listen = [1]", &[], &[]).contains("not a TOML array"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mistakes =
        load_from("x = 1\ndrain = \"1\"", &[("TIDINGS_LISTEN", "here")], &[("broker", "kafka")]).unwrap_err();
    assert_eq!(mistakes.0.len(), 4, "{mistakes}");
}

#[test]
fn a_password_is_never_shown() {
    for file in
        ["broker = \"redis://u:s3cret@host", "broker = \"kafka://u:s3cret@host\"", "broker = \"redis://u:s3cret@\""]
    {
        let message = mistake(file, &[], &[]);
        assert!(!message.contains("s3cret"), "{message}");
    }
    let loaded = load_from("broker = \"redis://u:s3cret@host\"", &[], &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("s3cret"));
}

#[test]
fn an_address_that_is_not_loopback_needs_insecure() {
    for listen in ["0.0.0.0:7400", "[::]:7400", "192.168.0.1:0"] {
        assert!(mistake("", &[], &[("listen", listen)]).starts_with("listen (--listen): "));
        assert!(load_from("insecure = true", &[], &[("listen", listen)]).is_ok());
    }
    for listen in ["127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        assert!(load_from("", &[], &[("listen", listen)]).is_ok());
    }
}

#[test]
fn a_named_file_must_exist() {
    let sources =
        || Sources { directory: std::env::temp_dir(), file: Some("no/such.toml".into()), ..Sources::default() };
    assert!(load(sources()).unwrap_err().to_string().starts_with("cannot read the configuration file no/such.toml: "));
}

#[test]
fn a_list_is_text_with_commas_or_an_array() {
    let file =
        "allowed_hosts = ['a.example', 'b.example:81']\nallowed_origins = 'https://a.example, https://b.example'";
    let config = load_from(file, &[("TIDINGS_TRUSTED_PROXIES", "10.0.0.0/8,::1")], &[]).unwrap().config.edge;
    assert_eq!(config.allowed_hosts.len(), 2);
    assert_eq!(config.allowed_origins.len(), 2);
    assert_eq!(config.trusted_proxies.len(), 2);
    assert!(mistake("allowed_hosts = ['a.example', 1]", &[], &[]).contains("not a TOML array"));
    assert!(mistake("allowed_hosts = []", &[], &[]).starts_with("allowed_hosts (tidings.toml:1): expected hosts"));
    assert!(mistake("node_id = ['a']", &[], &[]).contains("not a TOML array"));
}

#[test]
fn the_operators_address_has_the_rules_of_the_other() {
    assert!(
        mistake("", &[], &[("admin_listen", "0.0.0.0:7401")])
            .starts_with("admin_listen (--admin-listen): 0.0.0.0:7401")
    );
    assert!(mistake("", &[], &[("admin_listen", "127.0.0.1:7400")]).ends_with("give it another port"));
    assert!(load_from("", &[], &[("admin_listen", "127.0.0.1:7401")]).is_ok());
    assert!(load_from("", &[], &[("listen", "127.0.0.1:0"), ("admin_listen", "127.0.0.1:0")]).is_ok());
}

#[test]
fn settings_without_an_effect_are_a_warning() {
    let warning = |flags: &[(&'static str, &str)]| load_from("insecure = true", &[], flags).unwrap().warnings;
    assert!(warning(&[("listen", "0.0.0.0:7400")])[0].starts_with("allowed_hosts is empty"));
    assert!(warning(&[("listen", "0.0.0.0:7400"), ("allowed_hosts", "bus.example")]).is_empty());
    assert!(warning(&[("publish_burst", "5")])[0].starts_with("publish_burst has no effect"));
    assert!(warning(&[("publish_burst", "5"), ("publish_rate", "5")]).is_empty());
}

#[test]
fn a_certificate_needs_its_key_and_client_certificates_need_both() {
    for (given, missing) in [
        (vec![("tls_cert", "c")], "tls_key"),
        (vec![("tls_key", "k")], "tls_cert"),
        (vec![("tls_client_ca", "ca")], "tls_cert and tls_key"),
        (vec![("tls_cert", "c"), ("tls_client_ca", "ca")], "tls_key"),
    ] {
        let mistake = mistake("", &[], &given);
        assert!(mistake.starts_with(given[0].0) && mistake.contains(missing), "{mistake}");
    }
    assert_eq!(load_from("", &[], &[]).unwrap().config.tls, None);
    let loaded = load_from("tls_cert = 'c'\ntls_key = 'k'", &[], &[("tls_client_ca", "ca")]).unwrap();
    let tls = TlsConfig { cert: "c".into(), key: "k".into(), client_ca: Some("ca".into()) };
    assert_eq!(loaded.config.tls, Some(tls));
}
