// Reads an event stream: Server-Sent Events (HTML Living Standard, section 9.2.6), as far as the daemon writes them.

/** A block of an event stream. */
export interface Block {
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

export interface ParserHandler {
  readonly onBlock: (block: Block) => void;
  /** The stream says when to come back, in milliseconds. */
  readonly onRetry: (ms: number) => void;
}

export class Parser {
  readonly #handler: ParserHandler;
  /** The end of the text, which is not a whole line. */
  #rest = "";
  #event = "";
  #data: string[] = [];
  #id = "";

  constructor(handler: ParserHandler) {
    this.#handler = handler;
  }

  /** Takes the next text of the stream. */
  push(text: string): void {
    // The daemon ends its lines with a line feed. A proxy changes nothing within a body.
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  /** The stream has ended. A block without its empty line is still one: the daemon says so why a stream ends. */
  end(): void {
    if (this.#event === "closed") this.#line("");
  }

  #line(line: string): void {
    if (line === "") {
      const block = { event: this.#event, data: this.#data.join("\n"), id: this.#id };
      this.#event = "";
      this.#data = [];
      if (block.event !== "") this.#handler.onBlock(block);
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id") this.#id = value;
    else if (field === "retry") this.#handler.onRetry(Number(value));
  }
}
