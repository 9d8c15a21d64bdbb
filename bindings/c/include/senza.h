/*
 * senza for C and C++: a node of a sharded in-memory data plane for sensor fleets, in your own process.
 *
 * Made by cbindgen from bindings/c/src; do not edit. MIT OR Apache-2.0.
 *
 * Answers. Every function answers a senza_code; SENZA_OK is 0. senza_last_error() names the thing and the rule behind
 * any other, per thread. What a function answers beside goes to its last parameters, and is written where it answers
 * SENZA_OK.
 *
 * Handles. A node, a sensor, a subscription is a number, not a pointer: one that was closed, made up, or names another
 * kind of thing is a code (SENZA_CLOSED, SENZA_HANDLE), never undefined behaviour. A number never names a second thing.
 *
 * Pointers. One that is not NULL points to what its type says, aligned, for as long as the call; nothing of it is kept.
 * Where NULL is allowed, it is said. Lengths are held to their bounds before anything is read.
 *
 * Threads. Every function may be called by any thread, also for the same handle at the same time, where nothing else is
 * said. Senza starts threads of its own; a child of fork() must not call it.
 *
 * Panics. None crosses the border: a bug in senza is SENZA_PANIC. What that call did is not known; its locks were given
 * back and its node goes on, as it does for embedders in Rust. Stop it when you can, and report the message.
 *
 * Memory. Answers that are lists lie in a batch, page and so on, begun as SENZA_ZERO: each call uses its memory again,
 * its ..._free() gives it back.
 */

#ifndef SENZA_H
#define SENZA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What is all zeros: senza_config config = SENZA_ZERO; */
#ifdef __cplusplus
#define SENZA_ZERO {}
#else
#define SENZA_ZERO {0}
#endif

/* A cast that strict compilers of either language accept. */
#ifdef __cplusplus
#define SENZA_CAST(type, value) static_cast<type>(value)
#else
#define SENZA_CAST(type, value) ((type)(value))
#endif

/* For printf: printf("%.*s", SENZA_ARG(text)). Texts that senza answers also end with a NUL. */
#define SENZA_ARG(text) SENZA_CAST(int, (text).length), (text).data


/**
 * Of `takeover_holdoff_ms`: none.
 */
#define SENZA_NO_HOLDOFF UINT64_MAX

/**
 * Of a reading's time: now.
 */
#define SENZA_NOW INT64_MIN

/**
 * Most points of one batch.
 */
#define SENZA_BATCH_MAX 65536

/**
 * Bytes of the name of a node, with the NUL behind it.
 */
#define SENZA_NAME_SIZE 64

/**
 * Of a located sensor: nobody owns it.
 */
#define SENZA_NOBODY UINT32_MAX

/**
 * Most entries of one page.
 */
#define SENZA_PAGE_MAX 100000

/**
 * Most sensors that one call locates.
 */
#define SENZA_LOCATE_MAX 1048576

/**
 * What every function answers. The message behind a code other than SENZA_OK: senza_last_error().
 */
typedef enum {
  /**
   * Done.
   */
  SENZA_OK = 0,
  /**
   * A pointer is NULL, or not aligned, that must not be.
   */
  SENZA_NULL = 1,
  /**
   * A handle that is none, or one of another kind of thing, or of another node.
   */
  SENZA_HANDLE = 2,
  /**
   * A handle that was closed; a node that was stopped; a subscription that ended and was read to its end.
   */
  SENZA_CLOSED = 3,
  /**
   * A text is not UTF-8.
   */
  SENZA_UTF8 = 4,
  /**
   * A length or a count is outside its bounds. Nothing was read.
   */
  SENZA_LENGTH = 5,
  /**
   * Something else is outside its rule: a setting, a field of a contract, a pattern, a kind that does not exist.
   */
  SENZA_ARGUMENT = 6,
  /**
   * No node that is up knows the sensor, or it has no such reading.
   */
  SENZA_NOT_FOUND = 7,
  /**
   * Another node owns the sensor; the message names it.
   */
  SENZA_NOT_OWNER = 8,
  /**
   * Another node took the sensor over a moment ago; the message says when it can be taken back.
   */
  SENZA_HELD_OFF = 9,
  /**
   * The sensor was unregistered since, or another node took it over.
   */
  SENZA_UNREGISTERED = 10,
  /**
   * A bound was reached; the message names it.
   */
  SENZA_FULL = 11,
  /**
   * Nothing came in time.
   */
  SENZA_TIMEOUT = 12,
  /**
   * Another thread is in a call that only one may make at a time for the same thing.
   */
  SENZA_BUSY = 13,
  /**
   * Some points of a batch were refused; all others were put.
   */
  SENZA_REFUSED = 14,
  /**
   * A node could not start: a port or a name is taken.
   */
  SENZA_START = 15,
  /**
   * A bug in senza. What the call did is not known; locks were given back, and the node goes on.
   */
  SENZA_PANIC = 16,
} senza_code;

/**
 * What an item of a batch is.
 */
typedef enum {
  /**
   * A live reading; of latest and history, any reading.
   */
  SENZA_READING = 0,
  /**
   * A reading that was there before the subscription began.
   */
  SENZA_STARTING = 1,
  /**
   * Told loss: readings of this series that will not come, told before the next one.
   */
  SENZA_GAP = 2,
  /**
   * No more of this series comes. A node that crashes tells none.
   */
  SENZA_END = 3,
} senza_what;

/**
 * Why readings were lost.
 */
typedef enum {
  /**
   * The subscription's own queue was full.
   */
  SENZA_GAP_OVERFLOW = 0,
  /**
   * The queue towards another node was full.
   */
  SENZA_GAP_RELAY = 1,
  /**
   * A frame between two nodes was lost.
   */
  SENZA_GAP_LINK = 2,
  /**
   * They came under a claim that was beaten already, and were refused.
   */
  SENZA_GAP_BEATEN = 3,
} senza_gap_reason;

/**
 * Why a series ended.
 */
typedef enum {
  /**
   * The sensor was unregistered.
   */
  SENZA_END_UNREGISTERED = 0,
  /**
   * Another node owns the sensor now; its readings go on under another epoch.
   */
  SENZA_END_MOVED = 1,
} senza_end_reason;

/**
 * Where a sensor is.
 */
typedef enum {
  /**
   * Not known anywhere that is up.
   */
  SENZA_NOWHERE = 0,
  /**
   * Owned by this node.
   */
  SENZA_HERE = 1,
  /**
   * Owned by another node.
   */
  SENZA_THERE = 2,
} senza_where;

/**
 * What a value is; which member of its `data` holds it.
 */
typedef enum {
  /**
   * No value: a told gap or an end has none. Refused in a put.
   */
  SENZA_NONE = 0,
  /**
   * A floating-point number, NaN and infinities included: `f64`.
   */
  SENZA_F64 = 1,
  /**
   * An integer: `i64`.
   */
  SENZA_I64 = 2,
  /**
   * A truth value: `boolean`, 0 or 1; in a put anything but 0 is 1.
   */
  SENZA_BOOL = 3,
  /**
   * UTF-8 text, at most 65,536 bytes: `text`.
   */
  SENZA_TEXT = 4,
  /**
   * Bytes, at most 65,536: `text`.
   */
  SENZA_BYTES = 5,
  /**
   * At most 4,096 numbers: `vector`.
   */
  SENZA_VECTOR = 6,
  /**
   * A JSON object or array, at most 65,536 bytes, nested 120 deep: `text`.
   */
  SENZA_JSON = 7,
} senza_kind;

/**
 * What happened.
 */
typedef enum {
  /**
   * A sensor has an owner now and had none.
   */
  SENZA_REGISTERED = 0,
  /**
   * A sensor has another owner or epoch than before.
   */
  SENZA_MOVED = 1,
  /**
   * A sensor has no owner any more.
   */
  SENZA_UNREGISTERED_EVENT = 2,
  /**
   * A node is up.
   */
  SENZA_NODE_UP = 3,
  /**
   * A node is down, and all its sensors with it: no event for each.
   */
  SENZA_NODE_DOWN = 4,
  /**
   * A node came into reach and its set was fetched; `count` sensors were claimed by two nodes, and each has one
   * owner now: `heal` says which.
   */
  SENZA_HEALED = 5,
  /**
   * At most `count` events before this one were lost, because they were not read in time: list what you follow
   * again.
   */
  SENZA_EVENTS_LOST = 6,
} senza_happening;

/**
 * How far a node takes part in the cluster.
 */
typedef enum {
  /**
   * Takes part.
   */
  SENZA_CLUSTER = 0,
  /**
   * Says nothing to other nodes and hears nothing of them; its own sensors and subscriptions work on.
   */
  SENZA_LOCAL = 1,
  /**
   * Takes part, but your own registry stays in charge of senza_whereis(): see senza_node_shadow().
   */
  SENZA_SHADOW = 2,
} senza_mode;

/**
 * What a registration does where another node owns the sensor.
 */
typedef enum {
  /**
   * Claims it: the device is here now. SENZA_HELD_OFF where it was lost to another node just before.
   */
  SENZA_TAKEOVER = 0,
  /**
   * Leaves it, and answers SENZA_NOT_OWNER, which names the owner.
   */
  SENZA_REFUSE = 1,
  /**
   * Claims it whatever happened before: somebody moves it on purpose.
   */
  SENZA_FORCE = 2,
} senza_on_conflict;

/**
 * How often a series' readings are delivered.
 */
typedef enum {
  /**
   * Every reading.
   */
  SENZA_EVERY = 0,
  /**
   * The newest reading of each series that was not taken yet; older ones are conflated.
   */
  SENZA_LATEST = 1,
  /**
   * At most one reading of each series in `interval_us`: the newest, when its time has come.
   */
  SENZA_INTERVAL = 2,
} senza_pace;

/**
 * Which changes of a number are too small to be delivered.
 */
typedef enum {
  /**
   * None.
   */
  SENZA_NO_DEADBAND = 0,
  /**
   * Those of at most `deadband_width` from the last number delivered.
   */
  SENZA_ABSOLUTE = 1,
  /**
   * Those of at most `deadband_width` percent of the last number delivered.
   */
  SENZA_PERCENT = 2,
} senza_deadband;

/**
 * What a full queue does.
 */
typedef enum {
  /**
   * The oldest reading gives way to the new one.
   */
  SENZA_DROP_OLDEST = 0,
  /**
   * The new reading is not taken.
   */
  SENZA_DROP_NEWEST = 1,
  /**
   * The new reading takes the place of its series' one that waits; where none waits, the oldest gives way.
   */
  SENZA_CONFLATE = 2,
  /**
   * Writers who can wait (senza_sensor_put_wait()) do, at most `block_us`; for others the new reading is not taken.
   */
  SENZA_BLOCK = 3,
  /**
   * The subscription ends.
   */
  SENZA_CLOSE = 4,
} senza_overflow;

/**
 * Where a subscription begins.
 */
typedef enum {
  /**
   * With the next reading.
   */
  SENZA_START_LIVE = 0,
  /**
   * With the latest reading of every series, then live, without a gap or a duplicate between.
   */
  SENZA_START_LATEST = 1,
  /**
   * With the newest `start_last` readings of every series that are kept, then live; of another node's series with
   * 4,096 at most.
   */
  SENZA_START_LAST = 2,
  /**
   * With the readings of every series that are kept since `start_since_us`, then live; of another node's series with
   * the newest 4,096 at most.
   */
  SENZA_START_SINCE = 3,
} senza_start;

/**
 * A part of a reading's way.
 */
typedef enum {
  /**
   * From the device's time to the owner's table: the device's clock and its queue are in it.
   */
  SENZA_HOP_SOURCE = 0,
  /**
   * From the owner's table until a frame to another node was sent.
   */
  SENZA_HOP_OWNER = 1,
  /**
   * From the owner's sending until the frame was taken in.
   */
  SENZA_HOP_LINK = 2,
  /**
   * In the queue of a reader.
   */
  SENZA_HOP_QUEUE = 3,
  /**
   * From the table to a reader on the same node.
   */
  SENZA_HOP_LOCAL = 4,
  /**
   * From the owner's table to a reader on another node.
   */
  SENZA_HOP_REMOTE = 5,
} senza_hop;

/**
 * How grave what was logged is.
 */
typedef enum {
  /**
   * Something failed.
   */
  SENZA_LOG_ERROR = 0,
  /**
   * Something that people should look at.
   */
  SENZA_LOG_WARN = 1,
  /**
   * What happens now and then, as a node that comes.
   */
  SENZA_LOG_INFO = 2,
  /**
   * For those who look for a fault.
   */
  SENZA_LOG_DEBUG = 3,
  /**
   * The same, in every detail.
   */
  SENZA_LOG_TRACE = 4,
} senza_level;

/**
 * Text: UTF-8, its length in bytes beside it. It may hold any character, NUL included.
 *
 * Given to senza: it is read during the call and not kept. It need not end with a NUL. senza_s("text") makes one of a
 * C string; { NULL, 0 } is an empty one.
 *
 * Answered by senza: behind its last byte there is a NUL that `length` does not count, and `data` is not NULL.
 */
typedef struct {
  /**
   * Its first byte.
   */
  const char *data;
  /**
   * How many bytes.
   */
  size_t length;
} senza_str;

/**
 * One further setting of Zenoh.
 */
typedef struct {
  /**
   * Its path, as "transport/link/tls/root_ca_certificate".
   */
  senza_str path;
  /**
   * Its value as JSON5.
   */
  senza_str value;
} senza_setting;

/**
 * The settings of a node. Begin with all zeros (SENZA_ZERO) and set `name`; what stays zero has its default. Read
 * during the call and not kept.
 */
typedef struct {
  /**
   * The node's name, unique in the cluster: `[a-z0-9][a-z0-9-]{0,62}`.
   */
  senza_str name;
  /**
   * The first chunk of all keys; default "senza".
   */
  senza_str root;
  /**
   * Endpoints to listen on, as "tcp/127.0.0.1:7447"; port 0 picks a free one. Default: a free port of loopback.
   */
  const senza_str *listen;
  /**
   * How many, at most 64.
   */
  size_t listen_count;
  /**
   * Endpoints of other nodes.
   */
  const senza_str *connect;
  /**
   * How many, at most 1,024.
   */
  size_t connect_count;
  /**
   * Further settings of Zenoh.
   */
  const senza_setting *zenoh;
  /**
   * How many, at most 1,024.
   */
  size_t zenoh_count;
  /**
   * Attributes, of all sensors of this node, of which no contract may leave a reading out: an ECG, a button. What
   * overflows is dropped and told all the same.
   */
  const senza_str *lossless;
  /**
   * How many, at most 4,096.
   */
  size_t lossless_count;
  /**
   * Most sensors of this node; 1 to 100,000,000, default 10,000,000.
   */
  uint64_t sensors_max;
  /**
   * Most attributes of one sensor; 1 to 65,535, default 1,024.
   */
  uint64_t attributes_max;
  /**
   * Readings kept per attribute; 1 to 1,000,000, default 16.
   */
  uint64_t history_max;
  /**
   * Seconds of silence after which a sensor of a plain Zenoh client is unregistered; 1 to 31,536,000, default 3,600.
   */
  uint64_t idle_unregister_s;
  /**
   * Milliseconds of silence after which a link is closed; 500 to 600,000, default 10,000.
   */
  uint64_t lease_ms;
  /**
   * Milliseconds of silence after which a node is down, the same on all nodes; 300 to 600,000, default 2,400.
   */
  uint64_t silence_ms;
  /**
   * Milliseconds after a takeover by another node in which readings here are refused as late; at most 3,600,000,
   * default 5,000; SENZA_NO_HOLDOFF for none.
   */
  uint64_t takeover_holdoff_ms;
  /**
   * SENZA_CLUSTER or SENZA_LOCAL.
   */
  uint32_t mode;
  /**
   * Not 0: allow an address that is not loopback without TLS.
   */
  uint32_t insecure;
} senza_config;

/**
 * A node of this process. A number, not a pointer: a dead or made-up one is told. All zeros is none.
 */
typedef struct {
  /**
   * Its number.
   */
  uint64_t id;
} senza_node;

/**
 * Memory that a batch or page lies in. Only senza looks into it.
 */
typedef struct {
  /**
   * Its number; 0 for none.
   */
  uint64_t id;
} senza_memory;

/**
 * Texts. Begin with all zeros (SENZA_ZERO); give its memory back by senza_texts_free().
 */
typedef struct {
  /**
   * The first.
   */
  const senza_str *items;
  /**
   * How many.
   */
  size_t count;
  /**
   * Where they lie.
   */
  senza_memory memory;
} senza_texts;

/**
 * The name of a node, with a NUL behind it.
 */
typedef struct {
  /**
   * Its bytes.
   */
  char text[SENZA_NAME_SIZE];
} senza_name;

/**
 * Writes the name of the node that owns a sensor, as your registry knows it, with a NUL behind it; answers 0 where it
 * knows none.
 */
typedef int32_t (*senza_existing_whereis)(void *user, senza_str sensor, senza_name *node);

/**
 * Called when your registry is not asked any more; `user` is not touched after it.
 */
typedef void (*senza_release)(void *user);

/**
 * What comparing with your registry found so far.
 */
typedef struct {
  /**
   * Answers compared.
   */
  uint64_t compared;
  /**
   * senza did not know a sensor that the registry knew.
   */
  uint64_t missing;
  /**
   * senza knew a sensor that the registry did not know.
   */
  uint64_t extra;
  /**
   * Both knew it, as different nodes'.
   */
  uint64_t other_node;
} senza_comparison;

/**
 * How a sensor is registered. Begin with all zeros (SENZA_ZERO).
 */
typedef struct {
  /**
   * What kind of thing it is, at most 64 bytes; default "generic".
   */
  senza_str sensor_type;
  /**
   * A JSON object for people, at most 65,536 bytes; default "{}".
   */
  senza_str meta;
  /**
   * A senza_on_conflict.
   */
  uint32_t on_conflict;
} senza_sensor_options;

/**
 * A registration of a sensor on a node of this process. A number, not a pointer: a dead or made-up one is told. All
 * zeros is none.
 */
typedef struct {
  /**
   * Its number.
   */
  uint64_t id;
} senza_sensor;

/**
 * One attribute of a registered sensor: the fastest way to put. Not to be closed; it goes stale with the sensor, and
 * never names another one. All zeros is none.
 */
typedef struct {
  /**
   * Its numbers.
   */
  uint64_t id[2];
} senza_attribute;

/**
 * Numbers, and how many.
 */
typedef struct {
  /**
   * The first.
   */
  const float *data;
  /**
   * How many.
   */
  size_t count;
} senza_floats;

/**
 * What a value holds; `kind` says which member.
 */
typedef union {
  /**
   * Of SENZA_F64.
   */
  double f64;
  /**
   * Of SENZA_I64.
   */
  int64_t i64;
  /**
   * Of SENZA_BOOL.
   */
  uint64_t boolean;
  /**
   * Of SENZA_TEXT, SENZA_BYTES and SENZA_JSON.
   */
  senza_str text;
  /**
   * Of SENZA_VECTOR.
   */
  senza_floats vector;
} senza_data;

/**
 * The value of a reading. Made by senza_f64(), senza_i64(), senza_bool(), senza_text(), senza_bytes(), senza_vector(),
 * senza_json(). What it points to is copied during the call.
 */
typedef struct {
  /**
   * A senza_kind.
   */
  uint32_t kind;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * What it holds.
   */
  senza_data data;
} senza_value;

/**
 * What is wanted of one series.
 */
typedef struct {
  /**
   * A senza_pace.
   */
  uint32_t pace;
  /**
   * Of SENZA_INTERVAL: 10 to 1,000,000,000 microseconds.
   */
  uint32_t interval_us;
  /**
   * A senza_deadband.
   */
  uint32_t deadband;
  /**
   * Where readings were left out by the deadband, the newest is delivered all the same after so many microseconds;
   * 0: never. At most an hour.
   */
  uint32_t heartbeat_us;
  /**
   * Of SENZA_ABSOLUTE, at least 0; of SENZA_PERCENT, 0 to 100.
   */
  double deadband_width;
} senza_want;

/**
 * What is wanted of a sensor by all subscriptions of the cluster together.
 */
typedef struct {
  /**
   * 0: nobody watches it, and `want` says nothing.
   */
  uint32_t watched;
  /**
   * What is wanted.
   */
  senza_want want;
} senza_demand;

/**
 * One reading to put by attribute.
 */
typedef struct {
  /**
   * Of what: senza_sensor_attribute().
   */
  senza_attribute attribute;
  /**
   * When it was read, microseconds since 1970, or SENZA_NOW.
   */
  int64_t time_us;
  /**
   * What was read.
   */
  senza_value value;
} senza_point;

/**
 * One reading to put by ids.
 */
typedef struct {
  /**
   * The sensor.
   */
  senza_str sensor;
  /**
   * The attribute, made at its first use.
   */
  senza_str attribute;
  /**
   * When it was read, microseconds since 1970, or SENZA_NOW.
   */
  int64_t time_us;
  /**
   * What was read.
   */
  senza_value value;
} senza_named_point;

/**
 * Who owns a sensor.
 */
typedef struct {
  /**
   * A senza_where.
   */
  uint32_t place;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * The claim's number; 0 of SENZA_NOWHERE.
   */
  uint64_t epoch;
  /**
   * The owner's name; empty of SENZA_NOWHERE.
   */
  senza_name node;
} senza_owner;

/**
 * Where a sensor is, without a name.
 */
typedef struct {
  /**
   * The claim's number.
   */
  uint64_t epoch;
  /**
   * The owner's number, for senza_life_of(): 0 is this node, SENZA_NOBODY nobody.
   */
  uint32_t life;
  /**
   * 0.
   */
  uint32_t reserved;
} senza_located;

/**
 * One life of a node.
 */
typedef struct {
  /**
   * The node's name.
   */
  senza_name node;
  /**
   * Which of its lives.
   */
  uint64_t incarnation;
} senza_life;

/**
 * What all readings of one attribute under one claim share. Within a batch, items of one series point to the same one.
 */
typedef struct {
  /**
   * The sensor's id.
   */
  senza_str sensor;
  /**
   * The attribute's id.
   */
  senza_str attribute;
  /**
   * The sensor's type.
   */
  senza_str sensor_type;
  /**
   * The name of the node that owns it.
   */
  senza_str node;
  /**
   * The claim under which its readings are numbered; (epoch, seq) names a reading for ever.
   */
  uint64_t epoch;
} senza_series;

/**
 * One reading, told gap, or end.
 */
typedef struct {
  /**
   * A senza_what.
   */
  uint32_t what;
  /**
   * Of a gap a senza_gap_reason, of an end a senza_end_reason, else 0.
   */
  uint32_t reason;
  /**
   * Whose it is.
   */
  const senza_series *series;
  /**
   * The reading's number in its series: from 1, without a hole. Of a gap the first lost number, of an end the last.
   */
  uint64_t seq;
  /**
   * Of a gap the last lost number, UINT64_MAX where nobody knows it. Of SENZA_STARTING the number after which live
   * readings go on. Else `seq`.
   */
  uint64_t to;
  /**
   * When it was read, as the device says: microseconds since 1970.
   */
  int64_t time_us;
  /**
   * When the owner took it: microseconds since 1970.
   */
  int64_t received_us;
  /**
   * What was read.
   */
  senza_value value;
} senza_item;

/**
 * Readings, gaps and ends. Begin with all zeros (SENZA_ZERO); every call that fills it uses its memory again, so that
 * `items`, and all that they point to, are good until the next one or senza_batch_free().
 */
typedef struct {
  /**
   * The first.
   */
  const senza_item *items;
  /**
   * How many.
   */
  size_t count;
  /**
   * Where they lie.
   */
  senza_memory memory;
} senza_batch;

/**
 * Which sensors and attributes are meant. Within a list any entry fits; between lists all must fit; an empty list asks
 * nothing. `sensors` and `patterns` are one list in this sense. At most 4,096 entries in all.
 *
 * All zeros (SENZA_ZERO) is everything. Read during the call and not kept.
 */
typedef struct {
  /**
   * Exact sensor ids.
   */
  const senza_str *sensors;
  /**
   * How many.
   */
  size_t sensors_count;
  /**
   * Key expressions over `<sensor>/<attribute>`: `*` is one chunk, `**` any number of chunks, `$*` any text inside a
   * chunk. Ids in them are percent-encoded: every byte outside `A-Z a-z 0-9 . _ ~ : -` is `%XX`.
   */
  const senza_str *patterns;
  /**
   * How many.
   */
  size_t patterns_count;
  /**
   * Exact attribute ids.
   */
  const senza_str *attributes;
  /**
   * How many.
   */
  size_t attributes_count;
  /**
   * Sensor types.
   */
  const senza_str *types;
  /**
   * How many.
   */
  size_t types_count;
  /**
   * Names of owners.
   */
  const senza_str *nodes;
  /**
   * How many.
   */
  size_t nodes_count;
} senza_filter;

/**
 * One sensor of a listing.
 */
typedef struct {
  /**
   * Its id.
   */
  senza_str sensor;
  /**
   * Its type.
   */
  senza_str sensor_type;
  /**
   * The name of its owner.
   */
  senza_str node;
  /**
   * The claim's number.
   */
  uint64_t epoch;
  /**
   * 1 where this node owns it.
   */
  uint32_t local;
  /**
   * 0.
   */
  uint32_t reserved;
} senza_listed;

/**
 * One page of a listing. Begin with all zeros (SENZA_ZERO); senza_sensors() fills it again and again until `done`, and
 * what it held before is then no longer good. Give its memory back by senza_page_free().
 */
typedef struct {
  /**
   * The first.
   */
  const senza_listed *items;
  /**
   * How many.
   */
  size_t count;
  /**
   * 1: the listing is complete with this page.
   */
  uint32_t done;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Where they lie, and where the listing goes on.
   */
  senza_memory memory;
} senza_page;

/**
 * One node that is up.
 */
typedef struct {
  /**
   * Its name.
   */
  senza_str node;
  /**
   * Which of its lives.
   */
  uint64_t incarnation;
  /**
   * How many sensors it owns.
   */
  uint64_t sensors;
  /**
   * 1: it is this node.
   */
  uint32_t local;
  /**
   * 0.
   */
  uint32_t reserved;
} senza_node_view;

/**
 * The nodes that are up. Begin with all zeros (SENZA_ZERO); give its memory back by senza_node_views_free().
 */
typedef struct {
  /**
   * The first.
   */
  const senza_node_view *items;
  /**
   * How many.
   */
  size_t count;
  /**
   * Where they lie.
   */
  senza_memory memory;
} senza_node_views;

/**
 * Which readings of an attribute are asked for. All zeros (SENZA_ZERO) is all that are kept.
 */
typedef struct {
  /**
   * Those read at this time or later, microseconds since 1970; 0: from the oldest.
   */
  int64_t since_us;
  /**
   * Those read at this time or earlier, microseconds since 1970, or SENZA_NOW; 0: to the newest.
   */
  int64_t until_us;
  /**
   * At most so many, the newest of them: 1 to 1,000,000; 0 is 1,000,000.
   */
  uint32_t last;
  /**
   * How long the owner has to answer: 1 to 15,000 milliseconds; 0 is 5,000.
   */
  uint32_t timeout_ms;
} senza_range;

/**
 * What a subscription asks for. All zeros (SENZA_ZERO) is every reading, live, in a queue of 65,536 whose oldest give
 * way. A contract out of its range is refused with the field and the range, not adjusted.
 */
typedef struct {
  /**
   * What is delivered of each series.
   */
  senza_want want;
  /**
   * A senza_overflow.
   */
  uint32_t overflow;
  /**
   * Of SENZA_BLOCK: the longest wait of a writer, at most an hour.
   */
  uint32_t block_us;
  /**
   * Most queued readings, 1 to 16,777,216; 0 is 65,536.
   */
  uint64_t queue_max;
  /**
   * A senza_start.
   */
  uint32_t start;
  /**
   * Of SENZA_START_LAST: 1 to 100,000 readings.
   */
  uint32_t start_last;
  /**
   * Of SENZA_START_SINCE: microseconds since 1970.
   */
  int64_t start_since_us;
} senza_contract;

/**
 * A subscription of a node of this process. A number, not a pointer: a dead or made-up one is told. All zeros is none.
 */
typedef struct {
  /**
   * Its number.
   */
  uint64_t id;
} senza_subscription;

/**
 * Called with what a subscription delivers, in order per series. `items`, and all that they point to, are good until
 * it returns. The last call has no items, and `user` is not touched after it.
 *
 * A subscription's calls come one after the other from one thread of the library, its own; a slow one makes its own
 * queue overflow, as its contract says, and nobody else's. It may call any function of senza. It must not throw or
 * jump out: that ends the process.
 */
typedef void (*senza_on_items)(void *user, const senza_item *items, size_t count);

/**
 * What became of every reading offered: offered = delivered + conflated + filtered + dropped + queued, exactly.
 */
typedef struct {
  /**
   * Readings that matched.
   */
  uint64_t offered;
  /**
   * Readings that the reader took.
   */
  uint64_t delivered;
  /**
   * Readings that gave way to a newer one of their series, by contract.
   */
  uint64_t conflated;
  /**
   * Readings that changed too little, by contract.
   */
  uint64_t filtered;
  /**
   * Readings that overflowed, each inside a told gap.
   */
  uint64_t dropped;
  /**
   * Readings waiting.
   */
  uint64_t queued;
} senza_ledger;

/**
 * A reader of events. A number, not a pointer: a dead or made-up one is told. All zeros is none.
 */
typedef struct {
  /**
   * Its number.
   */
  uint64_t id;
} senza_events;

/**
 * A node's claim of a sensor.
 */
typedef struct {
  /**
   * The node's name.
   */
  senza_str node;
  /**
   * The node's life.
   */
  uint64_t incarnation;
  /**
   * The claim's number.
   */
  uint64_t epoch;
} senza_claim;

/**
 * A sensor that two nodes had claimed.
 */
typedef struct {
  /**
   * Its id.
   */
  senza_str sensor;
  /**
   * The claim that won: its node owns the sensor.
   */
  senza_claim winner;
  /**
   * The claim that lost.
   */
  senza_claim loser;
} senza_settled;

/**
 * What came to light when a node came into reach.
 */
typedef struct {
  /**
   * When all that the node owns was known here: microseconds since 1970.
   */
  int64_t at_us;
  /**
   * The first of the sensors that the node and another one had claimed, in order of their ids.
   */
  const senza_settled *settled;
  /**
   * How many are listed: at most 10,000, even where there were more.
   */
  size_t settled_count;
  /**
   * 1: the node had been here before, in this life: a split healed. 0: it is new here, or back from SENZA_LOCAL.
   */
  uint32_t returned;
  /**
   * 0.
   */
  uint32_t reserved;
} senza_heal;

/**
 * One event.
 */
typedef struct {
  /**
   * A senza_happening.
   */
  uint32_t what;
  /**
   * Of a sensor: 1 where this node owns it, or owned it.
   */
  uint32_t local;
  /**
   * Of a sensor its id, else empty.
   */
  senza_str sensor;
  /**
   * Of a sensor its type, else empty.
   */
  senza_str sensor_type;
  /**
   * The owner, or the node.
   */
  senza_str node;
  /**
   * The owner's or the node's life.
   */
  uint64_t incarnation;
  /**
   * Of a sensor the claim's number.
   */
  uint64_t epoch;
  /**
   * Of SENZA_MOVED the owner before.
   */
  senza_str previous_node;
  /**
   * Of SENZA_MOVED the claim before.
   */
  uint64_t previous_epoch;
  /**
   * Of SENZA_HEALED and SENZA_EVENTS_LOST.
   */
  uint64_t count;
  /**
   * Of SENZA_HEALED what was settled, else NULL.
   */
  const senza_heal *heal;
} senza_event;

/**
 * Events. Begin with all zeros (SENZA_ZERO); every call that fills it uses its memory again. Give that back by
 * senza_event_batch_free().
 */
typedef struct {
  /**
   * The first.
   */
  const senza_event *items;
  /**
   * How many.
   */
  size_t count;
  /**
   * Where they lie.
   */
  senza_memory memory;
} senza_event_batch;

/**
 * Latencies of one bucket of a histogram.
 */
typedef struct {
  /**
   * The longest that it counts, microseconds; the shortest is above the bucket before.
   */
  uint64_t up_to_us;
  /**
   * How many readings took so long.
   */
  uint64_t readings;
} senza_bucket;

/**
 * How long one part of the way took, as a node saw it. Microseconds, within one per cent; an hour is the most.
 */
typedef struct {
  /**
   * A senza_hop.
   */
  uint32_t hop;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Of SENZA_HOP_OWNER and SENZA_HOP_LINK the other node, else empty.
   */
  senza_str node;
  /**
   * How many readings took it.
   */
  uint64_t readings;
  /**
   * How many others arrived before they were sent, by the clocks and what is known of them: no latency.
   */
  uint64_t impossible;
  /**
   * Half of the readings took at most so long.
   */
  uint64_t p50_us;
  /**
   * 90 of 100.
   */
  uint64_t p90_us;
  /**
   * 99 of 100.
   */
  uint64_t p99_us;
  /**
   * 999 of 1,000.
   */
  uint64_t p999_us;
  /**
   * All.
   */
  uint64_t max_us;
  /**
   * The histogram: buckets that are not empty, shortest first. They add up over nodes, and of two answers the
   * difference is what came between.
   */
  const senza_bucket *buckets;
  /**
   * How many.
   */
  size_t buckets_count;
} senza_latency;

/**
 * By how much another node's clock differs from this one's. Latencies that cross clocks are corrected by it.
 */
typedef struct {
  /**
   * The other node.
   */
  senza_str node;
  /**
   * Its clock less this one's, microseconds.
   */
  int64_t offset_us;
  /**
   * The estimate is off by so much at most.
   */
  int64_t error_us;
} senza_clock;

/**
 * Latencies and clocks. Begin with all zeros (SENZA_ZERO); give their memory back by senza_latencies_free().
 */
typedef struct {
  /**
   * The first.
   */
  const senza_latency *items;
  /**
   * How many.
   */
  size_t count;
  /**
   * The first clock, of the nodes that are up and whose clock is known.
   */
  const senza_clock *clocks;
  /**
   * How many.
   */
  size_t clocks_count;
  /**
   * Where they lie.
   */
  senza_memory memory;
} senza_latencies;

/**
 * One line of the log.
 */
typedef struct {
  /**
   * A senza_level.
   */
  uint32_t level;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * When it was logged, microseconds since 1970.
   */
  int64_t time_us;
  /**
   * The part of senza, or of Zenoh below it, as "senza_mesh::engine".
   */
  senza_str target;
  /**
   * What happened, then its fields: "node up node=b incarnation=7". At most 4,096 bytes.
   */
  senza_str message;
} senza_log_line;

/**
 * Called with each line that is logged. `line`, and all that it points to, are good until it returns.
 *
 * Calls come one after the other from one thread of the library, its own, a moment after what they tell. It may call
 * any function of senza; what those log within it is left out. It must not throw or jump out: that ends the process.
 */
typedef void (*senza_on_log)(void *user, const senza_log_line *line);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What the last call of this thread that did not answer SENZA_OK was about: names the thing and the rule. Never NULL;
 * an empty text before the first one. Ends with a NUL, at most 1,023 bytes before it.
 *
 * Valid until the next call of this thread that does not answer SENZA_OK. Thread-safe: every thread has its own.
 */
const char *senza_last_error(void);

/**
 * The name of a code, "SENZA_OK" and so on; "unknown code" for any other number. Never NULL, valid for ever.
 *
 * Thread-safe.
 */
const char *senza_code_name(int32_t code);

/**
 * The version of the library, as "0.1.0". Never NULL, valid for ever. Thread-safe.
 */
const char *senza_version(void);

/**
 * Starts a node: binds, meets the others, opens its doors. Blocks until it is ready or five seconds have passed.
 *
 * Answers SENZA_START where a port or the name is taken, SENZA_ARGUMENT for a setting outside its rule, SENZA_FULL
 * beyond 255 nodes of this process. Thread-safe.
 */
senza_code senza_node_start(const senza_config *config, senza_node *node);

/**
 * Stops a node in good order: its subscriptions and events end, callbacks are called for the last time, farewell is
 * said to the others. Its sensors are unregistered with it. Blocks until that is done, for calls of other threads that
 * wait, or ask a registry of yours, at most 15 s.
 *
 * Handles of its sensors, subscriptions and events stay to be closed; until then they answer SENZA_CLOSED (a
 * subscription after what was queued). Its memory is given back when they are, and every thread that called this node
 * last has called another one or this one's handle again, or ended. Thread-safe; also within a callback of its own.
 */
senza_code senza_node_stop(senza_node node);

/**
 * Whether a node still runs: SENZA_CLOSED where it ended by itself, because another node of its name, older, is up;
 * senza_last_error() then says so. It is still to be stopped. Thread-safe.
 */
senza_code senza_node_check(senza_node node);

/**
 * The endpoints that a node listens on, ports filled in: what another node connects to. Thread-safe; the texts are for
 * one thread at a time.
 */
senza_code senza_node_listening(senza_node node, senza_texts *texts);

/**
 * Gives the memory of texts back and sets them to all zeros; those of all zeros are fine. Thread-safe.
 */
senza_code senza_texts_free(senza_texts *texts);

/**
 * How far a node takes part: a senza_mode. Thread-safe.
 */
senza_code senza_node_mode(senza_node node, uint32_t *mode);

/**
 * Switches how far a node takes part; `before`, which may be NULL, answers the mode before. Leaving the cluster
 * withdraws everything and forgets the others; coming back announces this node's sensors under the claims they have.
 * Thread-safe.
 */
senza_code senza_node_switch(senza_node node, uint32_t mode, uint32_t *before);

/**
 * Leaves your own registry in charge of look-ups, and switches to SENZA_SHADOW: senza_whereis() then answers what
 * `whereis` does, compares, and counts where senza would have said something else (senza_node_comparison()). Nothing
 * is refused, fenced or taken away. senza_node_switch() to SENZA_CLUSTER hands over.
 *
 * `whereis` is called by any thread that looks up, at the same time too; it must neither wait nor call this node.
 * `release`, which may be NULL, is called once with `user` when the registry is not asked any more: when another one
 * takes its place, or when the node was stopped. It may call senza, but not stop this node. Thread-safe.
 */
senza_code senza_node_shadow(senza_node node, senza_existing_whereis whereis, senza_release release, void *user);

/**
 * What comparing with your registry found so far; all zeros without one. Thread-safe.
 */
senza_code senza_node_comparison(senza_node node, senza_comparison *comparison);

/**
 * Registers a sensor on a node: from a few milliseconds later every node of the cluster finds it there. `options` may
 * be NULL. A sensor that is here already gets one more registration; the last one's end unregisters it.
 *
 * Answers SENZA_LENGTH for an id that is empty or longer than 256 bytes, SENZA_NOT_OWNER and SENZA_HELD_OFF as
 * `on_conflict` says, SENZA_FULL at a bound. Thread-safe.
 */
senza_code senza_sensor_register(senza_node node,
                                 senza_str id,
                                 const senza_sensor_options *options,
                                 senza_sensor *sensor);

/**
 * Ends a registration; the last one's end unregisters the sensor. Calls of other threads that are under way with it
 * are waited for by nobody: it ends with the last of them. Thread-safe.
 */
senza_code senza_sensor_close(senza_sensor sensor);

/**
 * Ends the handle and leaves the sensor registered: it ends with its node, or by senza_sensor_unregister().
 * Thread-safe.
 */
senza_code senza_sensor_leave(senza_sensor sensor);

/**
 * Unregisters a sensor of a node by its id, whatever its registrations. SENZA_NOT_FOUND where it is not this node's.
 * Thread-safe.
 */
senza_code senza_sensor_unregister(senza_node node, senza_str sensor);

/**
 * The attribute of a sensor by its name, made at its first use: what senza_put() and senza_put_many() need.
 *
 * SENZA_UNREGISTERED where another node took the sensor over; SENZA_FULL beyond its attributes. Thread-safe.
 */
senza_code senza_sensor_attribute(senza_sensor sensor, senza_str name, senza_attribute *attribute);

/**
 * Puts one reading of a sensor, its attribute by name. `time_us` is when it was read, microseconds since 1970, or
 * SENZA_NOW. `seq`, which may be NULL, answers its number.
 *
 * SENZA_NOT_OWNER where another node took the sensor over. Thread-safe.
 */
senza_code senza_sensor_put(senza_sensor sensor,
                            senza_str attribute,
                            senza_value value,
                            int64_t time_us,
                            uint64_t *seq);

/**
 * The same, and waits for readers of this node whose contract asks writers to (SENZA_BLOCK), each at most as long as
 * it says. Thread-safe; blocks the caller alone.
 */
senza_code senza_sensor_put_wait(senza_sensor sensor,
                                 senza_str attribute,
                                 senza_value value,
                                 int64_t time_us,
                                 uint64_t *seq);

/**
 * What all subscriptions of the cluster together want of a sensor now: a device need not send more. Thread-safe.
 */
senza_code senza_sensor_demand(senza_sensor sensor, senza_demand *demand);

/**
 * Waits until what is wanted of a sensor is another than this function answered before, the first time not at all; at
 * most `timeout_ms`, then SENZA_TIMEOUT. A subscription is to attributes: a device that waits to be watched makes its
 * attributes first (senza_sensor_attribute()).
 *
 * One thread at a time per sensor, others get SENZA_BUSY.
 */
senza_code senza_sensor_await_demand(senza_sensor sensor, uint32_t timeout_ms, senza_demand *demand);

/**
 * Puts one reading. `time_us` is when it was read, microseconds since 1970, or SENZA_NOW. `seq`, which may be NULL,
 * answers its number. One lock of the table, and one of each subscription's queue that it goes to; for numbers no
 * allocation.
 *
 * SENZA_UNREGISTERED where the sensor was unregistered, or another node took it over. Thread-safe.
 */
senza_code senza_put(senza_attribute attribute, senza_value value, int64_t time_us, uint64_t *seq);

/**
 * Puts many readings of a node's sensors: those of one shard share a lock, wherever in the batch they stand. Order is
 * kept per sensor.
 *
 * A point that breaks a rule (a value's kind or size, an attribute of another node) refuses the whole batch: nothing
 * is put, and the message names the point. Points of sensors that were unregistered or taken over are left out: the
 * answer is SENZA_REFUSED, `refused`, which may be NULL, says how many, and all others were put. SENZA_LENGTH beyond
 * SENZA_BATCH_MAX points. Thread-safe.
 */
senza_code senza_put_many(senza_node node, const senza_point *points, size_t count, size_t *refused);

/**
 * senza_put_many() of floating-point numbers in columns: the attributes, the values and the times of `count` readings.
 * `times_us` may be NULL: now. Thread-safe.
 */
senza_code senza_put_columns(senza_node node,
                             const senza_attribute *attributes,
                             const double *values,
                             const int64_t *times_us,
                             size_t count,
                             size_t *refused);

/**
 * Puts many readings by ids, for whoever has no attributes at hand; about half of the cost of putting them singly.
 * Order is kept per series.
 *
 * A point that breaks a rule (a text that is not UTF-8, a length, a value's kind) refuses the whole batch: nothing is
 * put, and the message names the point. Other points are refused singly: then the answer is SENZA_REFUSED, `refused`
 * says how many, and `codes` why, point by point, SENZA_OK of those that were put: SENZA_NOT_OWNER, SENZA_NOT_FOUND,
 * SENZA_FULL, SENZA_LENGTH of an empty attribute id. Both may be NULL; `codes` has room for `count`. SENZA_LENGTH
 * beyond SENZA_BATCH_MAX points. Thread-safe.
 */
senza_code senza_put_many_by_id(senza_node node,
                                const senza_named_point *points,
                                size_t count,
                                senza_code *codes,
                                size_t *refused);

/**
 * Puts one reading by ids. `time_us` is when it was read, microseconds since 1970, or SENZA_NOW. `seq`, which may be
 * NULL, answers its number.
 *
 * SENZA_NOT_OWNER where another node owns the sensor, SENZA_NOT_FOUND where nobody does. Thread-safe.
 */
senza_code senza_put_by_id(senza_node node,
                           senza_str sensor,
                           senza_str attribute,
                           senza_value value,
                           int64_t time_us,
                           uint64_t *seq);

/**
 * Where a sensor is, as this node knows: no lock, no network. A sensor that nobody knows is no failure: SENZA_NOWHERE.
 * In SENZA_SHADOW your registry answers. Thread-safe.
 */
senza_code senza_whereis(senza_node node, senza_str sensor, senza_owner *owner);

/**
 * Where many sensors are: their waits for memory overlap, so that one costs about half of senza_whereis(). `located`
 * has room for `count` answers, in the order of `sensors`; at most SENZA_LOCATE_MAX. Not compared in SENZA_SHADOW.
 * Thread-safe.
 */
senza_code senza_locate_many(senza_node node, const senza_str *sensors, size_t count, senza_located *located);

/**
 * The node behind a number that senza_locate_many() answered. SENZA_NOT_FOUND where it is forgotten. Thread-safe.
 */
senza_code senza_life_of(senza_node node, uint32_t number, senza_life *life);

/**
 * The latest reading of an attribute of a sensor of this node: one item. No network.
 *
 * SENZA_NOT_FOUND where there is none, SENZA_NOT_OWNER where another node owns the sensor: senza_history() asks it.
 * Thread-safe; a batch is for one thread at a time.
 */
senza_code senza_latest(senza_node node, senza_str sensor, senza_str attribute, senza_batch *batch);

/**
 * The newest `last` readings of an attribute, oldest first, of any sensor of the cluster: another node's are asked of
 * their owner. Blocks for up to five seconds, then SENZA_TIMEOUT.
 *
 * SENZA_NOT_FOUND where nobody owns the sensor; no items where it has no such readings. Thread-safe; a batch is for
 * one thread at a time.
 */
senza_code senza_history(senza_node node, senza_str sensor, senza_str attribute, uint32_t last, senza_batch *batch);

/**
 * The sensors of the cluster that match, at most `limit` a call (1 to SENZA_PAGE_MAX), from where the page before
 * ended; of a pattern only the sensor's chunk counts. `filter` may be NULL: all. After `done` the next call begins
 * anew.
 *
 *     senza_page page = SENZA_ZERO;
 *     do senza_sensors(node, NULL, 1000, &page) ... while (!page.done);
 *
 * Thread-safe; a page is for one thread at a time.
 */
senza_code senza_sensors(senza_node node, const senza_filter *filter, size_t limit, senza_page *page);

/**
 * Gives a page's memory back and sets it to all zeros; one of all zeros is fine. Thread-safe.
 */
senza_code senza_page_free(senza_page *page);

/**
 * The nodes that are up, this one first. Thread-safe; the answer is for one thread at a time.
 */
senza_code senza_nodes(senza_node node, senza_node_views *nodes);

/**
 * Gives the memory of nodes back and sets them to all zeros; those of all zeros are fine. Thread-safe.
 */
senza_code senza_node_views_free(senza_node_views *nodes);

/**
 * The readings of an attribute within `range`, oldest first, of any sensor of the cluster: another node's are asked of
 * their owner, which keeps `history_max` of each attribute (senza_config). `range` may be NULL: all that are kept. By
 * the time when they were read, both ends included. Blocks until the owner answered, then SENZA_TIMEOUT.
 *
 * Another node answers by one message: the newest 65,535 at most, and 4 MiB. Older ones are asked for by another call,
 * with the first item's time as `until_us`: others may share it, and by `seq` those that came already are known.
 *
 * SENZA_NOT_FOUND where nobody owns the sensor, SENZA_ARGUMENT for a range that breaks its rule, which is named; no
 * items where it has no such readings. Thread-safe; a batch is for one thread at a time.
 */
senza_code senza_history_range(senza_node node,
                               senza_str sensor,
                               senza_str attribute,
                               const senza_range *range,
                               senza_batch *batch);

/**
 * Subscribes to what matches, on every node, sensors that come later included; read by senza_subscription_poll().
 * `filter` and `contract` may be NULL: everything, and the default.
 *
 * SENZA_ARGUMENT for a pattern or a contract that breaks its rule, which is named; SENZA_FULL at a bound. Thread-safe.
 */
senza_code senza_subscribe(senza_node node,
                           const senza_filter *filter,
                           const senza_contract *contract,
                           senza_subscription *subscription);

/**
 * The same, delivered to `on_items` by a thread of the library; see there. At most 1,024 of a process at a time.
 *
 * Calls may come before this returns. Thread-safe.
 */
senza_code senza_subscribe_callback(senza_node node,
                                    const senza_filter *filter,
                                    const senza_contract *contract,
                                    senza_on_items on_items,
                                    void *user,
                                    senza_subscription *subscription);

/**
 * Takes what a subscription delivered, at most `max` readings (told gaps and ends come on top), into `batch`; waits up
 * to `timeout_ms` for something. `max` 0 is as many as there are, up to 1,000,000.
 *
 * SENZA_TIMEOUT where nothing came, SENZA_CLOSED where the subscription ended and all that was queued is read. Both
 * leave an empty batch. Waits at most a day; SENZA_ARGUMENT for more. SENZA_HANDLE for a subscription that calls back.
 *
 * One thread at a time per subscription, others get SENZA_BUSY; senza_subscription_close() and senza_node_stop() of
 * another thread end the wait.
 */
senza_code senza_subscription_poll(senza_subscription subscription,
                                   size_t max,
                                   uint32_t timeout_ms,
                                   senza_batch *batch);

/**
 * Gives a subscription other filters, any of which fits: it misses nothing of what it keeps, and begins live with what
 * is new. None at all is nothing. Thread-safe.
 */
senza_code senza_subscription_change(senza_subscription subscription, const senza_filter *filters, size_t count);

/**
 * The contract that is kept. Thread-safe.
 */
senza_code senza_subscription_contract(senza_subscription subscription, senza_contract *contract);

/**
 * What became of every reading so far. Thread-safe, also while another thread polls.
 */
senza_code senza_subscription_ledger(senza_subscription subscription, senza_ledger *ledger);

/**
 * Ends a subscription; what is queued is given up. A poll of another thread that waits returns.
 *
 * Of one that calls back: what is queued is still delivered, then the call without items comes, and when this returns
 * there was the last call. Within a callback (of any subscription) this does not wait for that. Thread-safe.
 */
senza_code senza_subscription_close(senza_subscription subscription);

/**
 * Follows what happens to sensors and nodes from now on; read by senza_events_poll(). Up to 65,536 events wait; more
 * are lost, and told so. SENZA_FULL beyond 4,096 readers of a process. Thread-safe.
 */
senza_code senza_events_open(senza_node node, senza_events *events);

/**
 * Takes what happened, at most `max` events (0: as many as there are, up to 1,000,000), into `batch`; waits up to
 * `timeout_ms` for one.
 *
 * SENZA_TIMEOUT where nothing happened, SENZA_CLOSED where the node was stopped. Both leave an empty batch. Waits at
 * most a day; SENZA_ARGUMENT for more.
 *
 * One thread at a time per reader, others get SENZA_BUSY; senza_events_close() and senza_node_stop() of another thread
 * end the wait.
 */
senza_code senza_events_poll(senza_events events, size_t max, uint32_t timeout_ms, senza_event_batch *batch);

/**
 * Ends a reader of events. A poll of another thread that waits returns. Thread-safe.
 */
senza_code senza_events_close(senza_events events);

/**
 * The last heals that this node saw, oldest first, at most 16: each an event of SENZA_HEALED, also where nobody read
 * events then. Thread-safe; the answer is for one thread at a time.
 */
senza_code senza_heals(senza_node node, senza_event_batch *batch);

/**
 * Gives the memory of events back and sets them to all zeros; those of all zeros are fine. Thread-safe.
 */
senza_code senza_event_batch_free(senza_event_batch *batch);

/**
 * How long readings took, hop by hop: those of this node's links, and those that its readers took. Counts since the
 * node started, of a link since it was opened; always on. Thread-safe; the answer is for one thread at a time.
 */
senza_code senza_node_latencies(senza_node node, senza_latencies *latencies);

/**
 * Gives the memory of latencies back and sets them to all zeros; those of all zeros are fine. Thread-safe.
 */
senza_code senza_latencies_free(senza_latencies *latencies);

/**
 * Has what senza logs written to standard error from now on: `filter` is a level, "error", "warn", "info", "debug" or
 * "trace", or tracing's directives ("warn,senza_mesh=debug"). Once per process: SENZA_BUSY the second time, also after
 * senza_log_to(), or where somebody else in the process has taken tracing. Without either, senza logs nowhere.
 * Thread-safe.
 */
senza_code senza_log_to_stderr(senza_str filter);

/**
 * Has what senza logs given to `on_log` from now on, see there: into a log of your own. `filter` as of
 * senza_log_to_stderr(). Once per process: SENZA_BUSY the second time, as there.
 *
 * Up to 1,024 lines wait; more, where `on_log` is slow, are lost, and a line of SENZA_LOG_WARN says how many. `on_log`
 * and `user` are to be good until senza_log_close() has returned, or the process ends. Thread-safe.
 */
senza_code senza_log_to(senza_str filter, senza_on_log on_log, void *user);

/**
 * Ends senza_log_to(): lines that wait are still given to `on_log`, and when this returns there was the last call.
 * From then on senza logs nowhere. Within `on_log`, or a callback of a subscription, this does not wait for that.
 *
 * SENZA_CLOSED where there is nothing to end. Thread-safe.
 */
senza_code senza_log_close(void);

/**
 * Gives a batch's memory back and sets it to all zeros; one of all zeros is fine.
 *
 * Thread-safe; a batch itself is for one thread at a time.
 */
senza_code senza_batch_free(senza_batch *batch);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SENZA_H */

/* Text of a C string; of NULL, an empty one. */
static inline senza_str senza_s(const char *text) {
  senza_str made;
  made.data = text;
  made.length = text ? strlen(text) : 0;
  return made;
}

/* Text of so many bytes. */
static inline senza_str senza_sn(const char *text, size_t length) {
  senza_str made;
  made.data = text;
  made.length = length;
  return made;
}

/* A value without its data: set field by field, so that compilers keep it in registers. */
static inline senza_value senza_value_of(uint32_t kind) {
  senza_value made;
  made.kind = kind;
  made.reserved = 0;
  made.data.text.data = NULL;
  made.data.text.length = 0;
  return made;
}

/* A floating-point number. */
static inline senza_value senza_f64(double number) {
  senza_value made = senza_value_of(SENZA_F64);
  made.data.f64 = number;
  return made;
}

/* An integer. */
static inline senza_value senza_i64(int64_t number) {
  senza_value made = senza_value_of(SENZA_I64);
  made.data.i64 = number;
  return made;
}

/* A truth value. */
static inline senza_value senza_bool(int truth) {
  senza_value made = senza_value_of(SENZA_BOOL);
  made.data.boolean = truth != 0;
  return made;
}

/* UTF-8 text. */
static inline senza_value senza_text(senza_str text) {
  senza_value made = senza_value_of(SENZA_TEXT);
  made.data.text = text;
  return made;
}

/* Bytes. */
static inline senza_value senza_bytes(const void *data, size_t length) {
  senza_value made = senza_value_of(SENZA_BYTES);
  made.data.text.data = SENZA_CAST(const char *, data);
  made.data.text.length = length;
  return made;
}

/* Numbers of 32 bits. */
static inline senza_value senza_vector(const float *data, size_t count) {
  senza_value made = senza_value_of(SENZA_VECTOR);
  made.data.vector.data = data;
  made.data.vector.count = count;
  return made;
}

/* A JSON object or array. */
static inline senza_value senza_json(senza_str text) {
  senza_value made = senza_value_of(SENZA_JSON);
  made.data.text = text;
  return made;
}
