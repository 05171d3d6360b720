//! The paths of the daemon and their methods: what a 404, a 405 and the OpenAPI document tell.

/// Each path with the methods that it takes, as `Allow` lists them (RFC 9110, section 10.2.1). A segment in
/// braces stands for any.
///
/// HEAD is GET without the body (section 9.3.2). Paths that open a stream refuse it: they have no answer that ends.
pub(super) const ROUTES: [(&str, &str); 27] = [
    ("/", "GET, HEAD, OPTIONS"),
    ("/console/{file}", "GET, HEAD, OPTIONS"),
    ("/v1/events", "GET, HEAD, POST, OPTIONS"),
    ("/v1/latest/{type}", "GET, HEAD, OPTIONS"),
    ("/v1/latest/{type}/{subject}", "GET, HEAD, OPTIONS"),
    ("/v1/stream", "GET, OPTIONS"),
    ("/v1/ws", "GET, OPTIONS"),
    ("/v1/channels", "GET, HEAD, OPTIONS"),
    ("/v1/nodes", "GET, HEAD, OPTIONS"),
    ("/v1/connections", "GET, HEAD, OPTIONS"),
    ("/v1/incidents", "GET, HEAD, OPTIONS"),
    ("/v1/revocations", "POST, OPTIONS"),
    ("/v1/webhooks", "GET, HEAD, OPTIONS"),
    ("/v1/webhooks/{name}/test", "POST, OPTIONS"),
    ("/v1/webhooks/{name}/dead", "GET, HEAD, OPTIONS"),
    ("/v1/webhooks/{name}/replay", "POST, OPTIONS"),
    ("/v1/webhooks/{name}/resume", "POST, OPTIONS"),
    ("/v1/bridges/{name}/dead", "GET, HEAD, OPTIONS"),
    ("/v1/sinks/{name}/dead", "GET, HEAD, OPTIONS"),
    ("/v1/schemas", "GET, HEAD, OPTIONS"),
    ("/v1/schemas/{type}", "GET, HEAD, OPTIONS"),
    ("/healthz", "GET, HEAD, OPTIONS"),
    ("/readyz", "GET, HEAD, OPTIONS"),
    ("/metrics", "GET, HEAD, OPTIONS"),
    ("/openapi.json", "GET, HEAD, OPTIONS"),
    ("/asyncapi.json", "GET, HEAD, OPTIONS"),
    ("/favicon.ico", "GET, HEAD, OPTIONS"),
];
