// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-pay5NXQV.js", hash: "L-50ocI_z-31hRMN", media_type: "text/javascript", plain: include_bytes!("console/app-pay5NXQV.js"), brotli: include_bytes!("console/app-pay5NXQV.js.br") },
    File { name: "channels--1IHYeu9.js", hash: "bGHDE19ul9m0zfM-", media_type: "text/javascript", plain: include_bytes!("console/channels--1IHYeu9.js"), brotli: include_bytes!("console/channels--1IHYeu9.js.br") },
    File { name: "explain-l-jJMTTP.js", hash: "HY1151vWKHfzHnkp", media_type: "text/javascript", plain: include_bytes!("console/explain-l-jJMTTP.js"), brotli: include_bytes!("console/explain-l-jJMTTP.js.br") },
    File { name: "fallback-BzX1YLPf.js", hash: "pv3-6du4SNbWtRrP", media_type: "text/javascript", plain: include_bytes!("console/fallback-BzX1YLPf.js"), brotli: include_bytes!("console/fallback-BzX1YLPf.js.br") },
    File { name: "later-Ds9KJlu0.js", hash: "ZOVwN3NbYFi-Ezhq", media_type: "text/javascript", plain: include_bytes!("console/later-Ds9KJlu0.js"), brotli: include_bytes!("console/later-Ds9KJlu0.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-B9wwAFSS.js", hash: "WWuT9gfoNQD7sadm", media_type: "text/javascript", plain: include_bytes!("console/probe-B9wwAFSS.js"), brotli: include_bytes!("console/probe-B9wwAFSS.js.br") },
    File { name: "style-gCakn1Ea.css", hash: "gCakn1Ean_s6Z1bu", media_type: "text/css", plain: include_bytes!("console/style-gCakn1Ea.css"), brotli: include_bytes!("console/style-gCakn1Ea.css.br") },
]
