import { createNextHandler } from "../../clients/typescript/dist/next.js";

export default createNextHandler({ url: process.env.TIDINGS_URL });
