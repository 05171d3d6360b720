// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-Chadhs3G.js", hash: "OhT8Bg3HUL0y3lMR", media_type: "text/javascript", plain: include_bytes!("console/app-Chadhs3G.js"), brotli: include_bytes!("console/app-Chadhs3G.js.br") },
    File { name: "channels-C0Jfuaq4.js", hash: "zYVDX0RWK4jm1xkX", media_type: "text/javascript", plain: include_bytes!("console/channels-C0Jfuaq4.js"), brotli: include_bytes!("console/channels-C0Jfuaq4.js.br") },
    File { name: "explain-yEzMmUW4.js", hash: "YUNH4-pMe69KAhqP", media_type: "text/javascript", plain: include_bytes!("console/explain-yEzMmUW4.js"), brotli: include_bytes!("console/explain-yEzMmUW4.js.br") },
    File { name: "fallback-DzGbqcp-.js", hash: "mcqqzaWbmjqB6pxu", media_type: "text/javascript", plain: include_bytes!("console/fallback-DzGbqcp-.js"), brotli: include_bytes!("console/fallback-DzGbqcp-.js.br") },
    File { name: "later-DthJptgQ.js", hash: "CN42N2M3em0LV56j", media_type: "text/javascript", plain: include_bytes!("console/later-DthJptgQ.js"), brotli: include_bytes!("console/later-DthJptgQ.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-B8NohyId.js", hash: "VRDFDgZrFX7Nlj6B", media_type: "text/javascript", plain: include_bytes!("console/probe-B8NohyId.js"), brotli: include_bytes!("console/probe-B8NohyId.js.br") },
    File { name: "style-RPqaLpU3.css", hash: "RPqaLpU3S1-o_beA", media_type: "text/css", plain: include_bytes!("console/style-RPqaLpU3.css"), brotli: include_bytes!("console/style-RPqaLpU3.css.br") },
]
