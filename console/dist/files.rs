// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-DNk3hro-.js", hash: "p4pzud10EJwNoInW", media_type: "text/javascript", plain: include_bytes!("console/app-DNk3hro-.js"), brotli: include_bytes!("console/app-DNk3hro-.js.br") },
    File { name: "channels-CsXOcwvt.js", hash: "qpQjV1gZnQlvCJ0w", media_type: "text/javascript", plain: include_bytes!("console/channels-CsXOcwvt.js"), brotli: include_bytes!("console/channels-CsXOcwvt.js.br") },
    File { name: "explain-BXMhQ9GV.js", hash: "2AqHQqmq7xPV1egw", media_type: "text/javascript", plain: include_bytes!("console/explain-BXMhQ9GV.js"), brotli: include_bytes!("console/explain-BXMhQ9GV.js.br") },
    File { name: "fallback-COh3-va7.js", hash: "Ua5KccTUyBHzn7QO", media_type: "text/javascript", plain: include_bytes!("console/fallback-COh3-va7.js"), brotli: include_bytes!("console/fallback-COh3-va7.js.br") },
    File { name: "later-Supj8HXM.js", hash: "aOe3Bm2eVVz3NGEi", media_type: "text/javascript", plain: include_bytes!("console/later-Supj8HXM.js"), brotli: include_bytes!("console/later-Supj8HXM.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-Dg5BvW5y.js", hash: "FhT9vAFk64ElP_sG", media_type: "text/javascript", plain: include_bytes!("console/probe-Dg5BvW5y.js"), brotli: include_bytes!("console/probe-Dg5BvW5y.js.br") },
    File { name: "style-s5EB6ErS.css", hash: "s5EB6ErSmEXzhXmp", media_type: "text/css", plain: include_bytes!("console/style-s5EB6ErS.css"), brotli: include_bytes!("console/style-s5EB6ErS.css.br") },
]
