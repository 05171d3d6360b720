// The views that are not needed at first, as one part of the page.

export { Connections } from "./connections.js";
export { History } from "./history.js";
export { Nodes } from "./nodes.js";
export { Publish } from "./publish/publish.js";
export { Types } from "./types.js";
