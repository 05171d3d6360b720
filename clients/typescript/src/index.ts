// The public API of the client of the tidings event bus. Start with `connect`.

export type { ChannelInfo } from "./answers.js";
export type { Backoff } from "./backoff.js";
export type { Bus } from "./bus.js";
export { connect } from "./connect.js";
export type { ConnectionState, Positions } from "./state.js";
export { type ConnectOnceOptions, connectOnce } from "./once.js";
export { type ErrorCode, type ErrorDetails, type Mistake, TidingsError } from "./errors.js";
export type { AnyWhere, Condition, Scalar, Where } from "./filter.js";
export type * from "./generated/events.js";
export { CLOSE_CODES, type DaemonErrorCode, ERROR_CODES } from "./generated/protocol.js";
export type { JsonCodec } from "./json.js";
export { type InvalidateBus, type Invalidated, onInvalidate, type OnInvalidateOptions } from "./invalidate.js";
export type { Persistence } from "./persistence.js";
export type { ListenerOptions } from "./listeners.js";
export type { Accepted, FetchLike, Published, PublishedAll, PublishOptions, ResponseLike } from "./publish.js";
export type { Transport } from "./state.js";
export type { Token, TokenResult } from "./token.js";
export type { Gap } from "./subscription.js";
export type {
  ConnectOptions,
  Draft,
  EventAttributes,
  EventName,
  EventOf,
  EventsOptions,
  EventTypes,
  Handler,
  OnOptions,
  Since,
  SubscribeOptions,
  TypesOptions,
  WatchOptions,
} from "./types.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";
