// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-CNhhU3XV.js", hash: "ejFkmiw9X-53SGfC", media_type: "text/javascript", plain: include_bytes!("console/app-CNhhU3XV.js"), brotli: include_bytes!("console/app-CNhhU3XV.js.br") },
    File { name: "channels-DC74FS7J.js", hash: "a7DSobQku_49EWmt", media_type: "text/javascript", plain: include_bytes!("console/channels-DC74FS7J.js"), brotli: include_bytes!("console/channels-DC74FS7J.js.br") },
    File { name: "explain-dglpQTyJ.js", hash: "BG8KOsDnvHJrZDoh", media_type: "text/javascript", plain: include_bytes!("console/explain-dglpQTyJ.js"), brotli: include_bytes!("console/explain-dglpQTyJ.js.br") },
    File { name: "fallback-C9hjArgA.js", hash: "0B7VZjc4-IKg50Er", media_type: "text/javascript", plain: include_bytes!("console/fallback-C9hjArgA.js"), brotli: include_bytes!("console/fallback-C9hjArgA.js.br") },
    File { name: "later-DlX2YCxP.js", hash: "TRoSBb4cImwPr4PJ", media_type: "text/javascript", plain: include_bytes!("console/later-DlX2YCxP.js"), brotli: include_bytes!("console/later-DlX2YCxP.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-7JtARw1z.js", hash: "bQo58GGHaud3oTrw", media_type: "text/javascript", plain: include_bytes!("console/probe-7JtARw1z.js"), brotli: include_bytes!("console/probe-7JtARw1z.js.br") },
    File { name: "style-gCakn1Ea.css", hash: "gCakn1Ean_s6Z1bu", media_type: "text/css", plain: include_bytes!("console/style-gCakn1Ea.css"), brotli: include_bytes!("console/style-gCakn1Ea.css.br") },
]
