// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-Cmjvp00Q.js", hash: "8M8x22QOdJFocPAf", media_type: "text/javascript", plain: include_bytes!("console/app-Cmjvp00Q.js"), brotli: include_bytes!("console/app-Cmjvp00Q.js.br") },
    File { name: "channels-ro4Yl3xF.js", hash: "a1i-wy3vVIgQLFTS", media_type: "text/javascript", plain: include_bytes!("console/channels-ro4Yl3xF.js"), brotli: include_bytes!("console/channels-ro4Yl3xF.js.br") },
    File { name: "explain-bkepOXxv.js", hash: "I65veMpqpW6k0o3m", media_type: "text/javascript", plain: include_bytes!("console/explain-bkepOXxv.js"), brotli: include_bytes!("console/explain-bkepOXxv.js.br") },
    File { name: "fallback-U0aScQCZ.js", hash: "NVGSJ6GNg8amnA_x", media_type: "text/javascript", plain: include_bytes!("console/fallback-U0aScQCZ.js"), brotli: include_bytes!("console/fallback-U0aScQCZ.js.br") },
    File { name: "later-kctIOesV.js", hash: "wQDz9lyOXcfg8SFY", media_type: "text/javascript", plain: include_bytes!("console/later-kctIOesV.js"), brotli: include_bytes!("console/later-kctIOesV.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-Cx_PpWEe.js", hash: "PzKoDZkdzNXescis", media_type: "text/javascript", plain: include_bytes!("console/probe-Cx_PpWEe.js"), brotli: include_bytes!("console/probe-Cx_PpWEe.js.br") },
    File { name: "style-RPqaLpU3.css", hash: "RPqaLpU3S1-o_beA", media_type: "text/css", plain: include_bytes!("console/style-RPqaLpU3.css"), brotli: include_bytes!("console/style-RPqaLpU3.css.br") },
]
