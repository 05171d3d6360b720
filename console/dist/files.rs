// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-DovZxDb6.js", hash: "knvo_pDi0wtdckrJ", media_type: "text/javascript", plain: include_bytes!("console/app-DovZxDb6.js"), brotli: include_bytes!("console/app-DovZxDb6.js.br") },
    File { name: "channels-DSqdcUBJ.js", hash: "axoALOUuDSao3Plg", media_type: "text/javascript", plain: include_bytes!("console/channels-DSqdcUBJ.js"), brotli: include_bytes!("console/channels-DSqdcUBJ.js.br") },
    File { name: "explain-DELvaAOx.js", hash: "9ZMm6RFWO60OMfT0", media_type: "text/javascript", plain: include_bytes!("console/explain-DELvaAOx.js"), brotli: include_bytes!("console/explain-DELvaAOx.js.br") },
    File { name: "fallback-7ZLGKEdN.js", hash: "xgRpmiq1uCtBAGtB", media_type: "text/javascript", plain: include_bytes!("console/fallback-7ZLGKEdN.js"), brotli: include_bytes!("console/fallback-7ZLGKEdN.js.br") },
    File { name: "later-CNaTF7l2.js", hash: "PthZ6OTfhcBY8qsk", media_type: "text/javascript", plain: include_bytes!("console/later-CNaTF7l2.js"), brotli: include_bytes!("console/later-CNaTF7l2.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-bI3loLvz.js", hash: "PsHQ2jvSjK7qFXrz", media_type: "text/javascript", plain: include_bytes!("console/probe-bI3loLvz.js"), brotli: include_bytes!("console/probe-bI3loLvz.js.br") },
    File { name: "style-Co2EQT1L.css", hash: "Co2EQT1Lkw57jvD6", media_type: "text/css", plain: include_bytes!("console/style-Co2EQT1L.css"), brotli: include_bytes!("console/style-Co2EQT1L.css.br") },
]
