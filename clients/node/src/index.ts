export { Refused, Unavailable } from "./errors.js";
export { Listener, type ListenerOptions } from "./listener.js";
export type { Who } from "./hints.js";
export type { Limits, Statistics } from "./answers.js";
export type { EndedOptions, IdentityOption, Queryable, Source } from "./cache.js";
export { TokenCache, type Identity, type VerifyOptions } from "./tokens.js";
export { ApiKeyCache, type ApiKey } from "./api-keys.js";
export { transaction, type Credential } from "./transaction.js";
export {
  Authenticated,
  authOf,
  expressAuth,
  fastifyAuth,
  requireAuth,
  type AuthOptions,
  type Problem,
} from "./http.js";
