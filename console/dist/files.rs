// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-GVEMYXYg.js", hash: "jg-VV2MztZ_e9zKN", media_type: "text/javascript", plain: include_bytes!("console/app-GVEMYXYg.js"), brotli: include_bytes!("console/app-GVEMYXYg.js.br") },
    File { name: "channels-Zu0kQ5kU.js", hash: "SiSVNTzRws_d0LFN", media_type: "text/javascript", plain: include_bytes!("console/channels-Zu0kQ5kU.js"), brotli: include_bytes!("console/channels-Zu0kQ5kU.js.br") },
    File { name: "explain-CdfHEClR.js", hash: "35YMhjLlOsQucuIw", media_type: "text/javascript", plain: include_bytes!("console/explain-CdfHEClR.js"), brotli: include_bytes!("console/explain-CdfHEClR.js.br") },
    File { name: "fallback-KmYWeLl0.js", hash: "LAAvOiPQjK-fvlvR", media_type: "text/javascript", plain: include_bytes!("console/fallback-KmYWeLl0.js"), brotli: include_bytes!("console/fallback-KmYWeLl0.js.br") },
    File { name: "later-B2neIp13.js", hash: "JTkHbJFaYAsV3ZSs", media_type: "text/javascript", plain: include_bytes!("console/later-B2neIp13.js"), brotli: include_bytes!("console/later-B2neIp13.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-D_6p4jjB.js", hash: "VWoHoEq78RHHi-HD", media_type: "text/javascript", plain: include_bytes!("console/probe-D_6p4jjB.js"), brotli: include_bytes!("console/probe-D_6p4jjB.js.br") },
    File { name: "style-wk1L32wV.css", hash: "wk1L32wVoxc5J8kf", media_type: "text/css", plain: include_bytes!("console/style-wk1L32wV.css"), brotli: include_bytes!("console/style-wk1L32wV.css.br") },
]
