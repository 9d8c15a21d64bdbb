/*
 * Every function with everything that it must not get, at random and from several threads: NULL, misaligned pointers,
 * dead and made-up handles, handles of another kind, lengths up to SIZE_MAX, bytes that are not UTF-8, numbers that
 * name nothing, things closed while others use them. No call may end the process or answer SENZA_PANIC; after all of
 * it the node still works.
 *
 *   hostile [CALLS per thread] [SEED]
 *
 * A pointer that is neither NULL nor good cannot be told, so there is none here: whatever length is within its bound
 * has that much memory behind it.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdatomic.h>
#include <threads.h>

#include "check.h"

enum { THREADS = 4, SHARED = 32, BYTES = 70000, TEXTS = 5000, POINTS = 4096 };

static senza_node node, other;
/* Handles that all threads use, and close under each other. */
static _Atomic uint64_t shared[SHARED];
static atomic_int panics, codes_seen[32], last_calls, callbacks;
static unsigned char bytes[BYTES];
static senza_str texts[TEXTS];
static unsigned long calls_max = 20000, seed = 1;

/* One thread's randomness, and memory of its own. */
struct thread {
  uint64_t state;
  senza_batch batch;
  senza_page page;
  senza_texts texts;
  senza_node_views nodes;
  senza_event_batch events;
  senza_latencies latencies;
  senza_point points[POINTS];
  senza_named_point named[POINTS];
  senza_attribute attributes[POINTS];
  senza_code codes[POINTS];
  senza_located located[POINTS];
  senza_str ids[POINTS];
  double values[POINTS];
  int64_t times[POINTS];
};

static uint64_t next(struct thread *t) {
  t->state ^= t->state << 13;
  t->state ^= t->state >> 7;
  t->state ^= t->state << 17;
  return t->state;
}

static uint64_t below(struct thread *t, uint64_t bound) { return next(t) % bound; }
static int one_in(struct thread *t, uint64_t n) { return below(t, n) == 0; }

/* Any handle: mostly one that is, or was, good for something. */
static uint64_t handle(struct thread *t) {
  switch (below(t, 8)) {
    case 0: return 0;
    case 1: return next(t);
    case 2: return shared[below(t, SHARED)] ^ (1ull << below(t, 64));
    case 3: return other.id;
    case 4: return node.id;
    default: return shared[below(t, SHARED)];
  }
}

static senza_node any_node(struct thread *t) {
  senza_node made = {one_in(t, 3) ? handle(t) : node.id};
  return made;
}

static senza_str any_text(struct thread *t) {
  static const char *const good[] = {"s1", "s2", "x", "y", "imu", "**", "s$*/x", "{\"a\":1}", "[1]", "a"};
  static const size_t wild[] = {0, 1, 64, 65, 256, 257, 65536, 65537, SIZE_MAX, SIZE_MAX / 2, 1 << 20};
  switch (below(t, 8)) {
    case 0: return senza_sn(NULL, wild[below(t, 11)]);
    case 1: return senza_sn((const char *)bytes, wild[below(t, 11)]);
    case 2: return senza_sn((const char *)bytes + below(t, 1000), below(t, 300));
    default: return senza_s(good[below(t, 10)]);
  }
}

static size_t any_count(struct thread *t, size_t good) {
  switch (below(t, 8)) {
    case 0: return 0;
    case 1: return SIZE_MAX;
    case 2: return SIZE_MAX / 8;
    case 3: return 1u << 24;
    default: return 1 + below(t, good);
  }
}

static senza_value any_value(struct thread *t) {
  senza_value value = senza_value_of((uint32_t)(one_in(t, 6) ? next(t) : below(t, 9)));
  value.reserved = (uint32_t)next(t);
  switch (value.kind) {
    case SENZA_TEXT:
    case SENZA_BYTES:
    case SENZA_JSON: value.data.text = any_text(t); break;
    case SENZA_VECTOR:
      value.data.vector.data = one_in(t, 4) ? NULL : (const float *)(const void *)(bytes + one_in(t, 4));
      value.data.vector.count = any_count(t, 4096);
      break;
    default: value.data.i64 = (int64_t)next(t);
  }
  return value;
}

static senza_attribute any_attribute(struct thread *t) {
  senza_attribute attribute = SENZA_ZERO;
  if (!one_in(t, 3)) {
    senza_sensor sensor = {shared[below(t, SHARED)]};
    senza_sensor_attribute(sensor, senza_s("x"), &attribute);
  }
  if (one_in(t, 3)) attribute.id[below(t, 2)] ^= 1ull << below(t, 64);
  if (one_in(t, 20)) attribute.id[0] = next(t), attribute.id[1] = next(t);
  return attribute;
}

static int64_t any_time(struct thread *t) { return one_in(t, 2) ? SENZA_NOW : (int64_t)next(t); }

static senza_filter any_filter(struct thread *t) {
  senza_filter filter = SENZA_ZERO;
  const senza_str *list = one_in(t, 3) ? NULL : texts + below(t, 100);
  size_t count = one_in(t, 4) ? any_count(t, 4096) : below(t, 3);
  switch (below(t, 6)) {
    case 0: filter.sensors = list, filter.sensors_count = count; break;
    case 1: filter.patterns = list, filter.patterns_count = count; break;
    case 2: filter.attributes = list, filter.attributes_count = count; break;
    case 3: filter.types = list, filter.types_count = count; break;
    case 4: filter.nodes = list, filter.nodes_count = count; break;
    default: break;
  }
  return filter;
}

static senza_contract any_contract(struct thread *t) {
  senza_contract contract = SENZA_ZERO;
  contract.want.pace = (uint32_t)below(t, 4);
  contract.want.interval_us = (uint32_t)below(t, 2000);
  contract.want.deadband = (uint32_t)below(t, 4);
  contract.want.deadband_width = one_in(t, 3) ? -1.0 : 1.0;
  contract.overflow = (uint32_t)below(t, 6);
  contract.block_us = (uint32_t)below(t, 100);
  contract.queue_max = one_in(t, 4) ? next(t) : below(t, 100);
  contract.start = (uint32_t)below(t, 5);
  contract.start_last = (uint32_t)below(t, 10);
  contract.start_since_us = any_time(t);
  return contract;
}

static void keep(struct thread *t, uint64_t id) { atomic_exchange(&shared[below(t, SHARED)], id); }

static void on_items(void *user, const senza_item *items, size_t count) {
  (void)user;
  atomic_fetch_add(count == 0 ? &last_calls : &callbacks, 1);
  for (size_t at = 0; at < count; at++)
    if (items[at].series->sensor.data[items[at].series->sensor.length] != '\0') abort();
}

static void on_log(void *user, const senza_log_line *line) {
  (void)user;
  if (line->target.data[line->target.length] != '\0' || line->message.data[line->message.length] != '\0') abort();
}

static int32_t never_known(void *user, senza_str sensor, senza_name *name) {
  (void)user;
  (void)sensor;
  memset(name->text, 'a', sizeof name->text);
  return 1;
}

/* NULL, misaligned, or the pointer. */
#define POINTER(type, good) \
  (one_in(t, 12) ? (type *)NULL : one_in(t, 40) ? (type *)(void *)((char *)(good) + 1) : (good))

static senza_code call(struct thread *t) {
  senza_sensor sensor = {handle(t)};
  senza_subscription subscription = {handle(t)};
  senza_events events = {handle(t)};
  senza_filter filter = any_filter(t);
  senza_contract contract = any_contract(t);
  uint64_t number[2] = {0, 0};
  size_t count[2];
  senza_code code;
  switch (below(t, 42)) {
    case 0: {
      senza_config config = SENZA_ZERO;
      config.name = any_text(t);
      config.root = any_text(t);
      config.listen = texts;
      config.listen_count = any_count(t, 70);
      config.connect = one_in(t, 2) ? NULL : texts;
      config.connect_count = any_count(t, 2000);
      config.zenoh_count = any_count(t, 2);
      config.lossless = one_in(t, 2) ? NULL : texts;
      config.lossless_count = any_count(t, 4500);
      config.lease_ms = 1; /* out of its range: none starts */
      return senza_node_start(POINTER(senza_config, &config), POINTER(senza_node, (senza_node *)number));
    }
    case 1: {
      senza_node made = {next(t) | 1};
      return made.id == node.id || made.id == other.id ? SENZA_OK : senza_node_stop(made);
    }
    case 2:
      if (one_in(t, 8)) return senza_log_close();
      if (one_in(t, 8)) return senza_log_to(any_text(t), one_in(t, 2) ? NULL : on_log, NULL);
      return senza_node_check(any_node(t));
    case 3: return senza_node_listening(any_node(t), POINTER(senza_texts, &t->texts));
    case 4: return senza_node_mode(any_node(t), POINTER(uint32_t, (uint32_t *)number));
    case 5: return senza_node_switch(any_node(t), (uint32_t)(3 + below(t, 100)), (uint32_t *)number);
    case 6: return senza_node_comparison(any_node(t), POINTER(senza_comparison, &(senza_comparison){0}));
    case 7: {
      senza_node wrong = {sensor.id};
      if (wrong.id == node.id || wrong.id == other.id) return SENZA_OK;
      return senza_node_shadow(wrong, one_in(t, 2) ? never_known : NULL, NULL, NULL);
    }
    case 8:
    case 9:
    case 10: {
      senza_sensor_options options = SENZA_ZERO;
      options.sensor_type = any_text(t);
      options.meta = any_text(t);
      options.on_conflict = (uint32_t)below(t, 4);
      const senza_sensor_options *given = one_in(t, 2) ? NULL : &options;
      code = senza_sensor_register(any_node(t), any_text(t), given, POINTER(senza_sensor, (senza_sensor *)number));
      if (code == SENZA_OK) keep(t, number[0]);
      return code;
    }
    case 11: return senza_sensor_close(sensor);
    case 12: return senza_sensor_leave(sensor);
    case 13: return senza_sensor_unregister(any_node(t), any_text(t));
    case 14: return senza_sensor_attribute(sensor, any_text(t), POINTER(senza_attribute, (senza_attribute *)number));
    case 15:
    case 16:
      return senza_sensor_put(sensor, any_text(t), any_value(t), any_time(t), POINTER(uint64_t, number));
    case 17: return senza_sensor_put_wait(sensor, any_text(t), any_value(t), any_time(t), NULL);
    case 18: return senza_sensor_demand(sensor, POINTER(senza_demand, &(senza_demand){0}));
    case 19: return senza_sensor_await_demand(sensor, (uint32_t)below(t, 2), POINTER(senza_demand, &(senza_demand){0}));
    case 20: return senza_put(any_attribute(t), any_value(t), any_time(t), POINTER(uint64_t, number));
    case 21: {
      senza_attribute some[4];
      for (int at = 0; at < 4; at++) some[at] = any_attribute(t);
      size_t filled = 1 + below(t, 40);
      for (size_t at = 0; at < filled; at++) {
        t->points[at].attribute = some[below(t, 4)];
        t->points[at].time_us = any_time(t);
        t->points[at].value = one_in(t, 30) ? any_value(t) : senza_f64(1);
        t->attributes[at] = some[below(t, 4)];
        t->values[at] = 1;
        t->times[at] = any_time(t);
      }
      if (one_in(t, 2)) {
        size_t wild = any_count(t, POINTS);
        const int64_t *times = one_in(t, 2) ? NULL : t->times;
        return senza_put_columns(any_node(t), POINTER(senza_attribute, t->attributes), POINTER(double, t->values),
                                 times, wild, POINTER(size_t, count));
      }
      return senza_put_many(any_node(t), POINTER(senza_point, t->points), one_in(t, 4) ? any_count(t, POINTS) : filled,
                            POINTER(size_t, count));
    }
    case 22: {
      for (size_t at = 0; at < 20; at++) {
        t->named[at].sensor = one_in(t, 20) ? any_text(t) : senza_s("s1");
        t->named[at].attribute = one_in(t, 20) ? any_text(t) : senza_s("x");
        t->named[at].time_us = any_time(t);
        t->named[at].value = one_in(t, 20) ? any_value(t) : senza_i64(1);
      }
      return senza_put_many_by_id(any_node(t), POINTER(senza_named_point, t->named), any_count(t, POINTS),
                                  POINTER(senza_code, t->codes), POINTER(size_t, count));
    }
    case 23: return senza_put_by_id(any_node(t), any_text(t), any_text(t), any_value(t), any_time(t), number);
    case 24: return senza_whereis(any_node(t), any_text(t), POINTER(senza_owner, &(senza_owner){0}));
    case 25: {
      for (size_t at = 0; at < 30; at++) t->ids[at] = one_in(t, 50) ? any_text(t) : senza_s("s1");
      return senza_locate_many(any_node(t), POINTER(senza_str, t->ids), any_count(t, POINTS),
                               POINTER(senza_located, t->located));
    }
    case 26: return senza_life_of(any_node(t), (uint32_t)next(t), POINTER(senza_life, &(senza_life){0}));
    case 27: return senza_latest(any_node(t), any_text(t), any_text(t), POINTER(senza_batch, &t->batch));
    case 28: {
      senza_range range = SENZA_ZERO;
      range.since_us = any_time(t);
      range.until_us = any_time(t);
      range.last = (uint32_t)(one_in(t, 4) ? next(t) : below(t, 100));
      range.timeout_ms = (uint32_t)(one_in(t, 4) ? next(t) : 1 + below(t, 5));
      if (one_in(t, 2))
        return senza_history_range(any_node(t), any_text(t), any_text(t), POINTER(senza_range, &range),
                                   POINTER(senza_batch, &t->batch));
      return senza_history(any_node(t), any_text(t), any_text(t), (uint32_t)next(t), POINTER(senza_batch, &t->batch));
    }
    case 29: return senza_sensors(any_node(t), &filter, any_count(t, 1000), POINTER(senza_page, &t->page));
    case 30:
      if (one_in(t, 4)) return senza_node_latencies(any_node(t), POINTER(senza_latencies, &t->latencies));
      return senza_nodes(any_node(t), POINTER(senza_node_views, &t->nodes));
    case 31:
    case 32:
      code = senza_subscribe(any_node(t), POINTER(senza_filter, &filter), POINTER(senza_contract, &contract),
                             POINTER(senza_subscription, (senza_subscription *)number));
      if (code == SENZA_OK) keep(t, number[0]);
      return code;
    case 33:
      code = senza_subscribe_callback(any_node(t), &filter, NULL, one_in(t, 4) ? NULL : on_items, NULL,
                                      POINTER(senza_subscription, (senza_subscription *)number));
      if (code == SENZA_OK) keep(t, number[0]);
      return code;
    case 34:
      return senza_subscription_poll(subscription, any_count(t, 10), (uint32_t)below(t, 2),
                                     POINTER(senza_batch, &t->batch));
    case 35:
      return senza_subscription_change(subscription, POINTER(senza_filter, &filter), one_in(t, 3) ? any_count(t, 1) : 1);
    case 36: return senza_subscription_contract(subscription, POINTER(senza_contract, &contract));
    case 37: return senza_subscription_ledger(subscription, POINTER(senza_ledger, &(senza_ledger){0}));
    case 38: return senza_subscription_close(subscription);
    case 39:
      code = senza_events_open(any_node(t), POINTER(senza_events, (senza_events *)number));
      if (code == SENZA_OK) keep(t, number[0]);
      return code;
    case 40:
      if (one_in(t, 8)) return senza_heals(any_node(t), POINTER(senza_event_batch, &t->events));
      return one_in(t, 4) ? senza_events_close(events)
                          : senza_events_poll(events, any_count(t, 10), (uint32_t)below(t, 2),
                                              POINTER(senza_event_batch, &t->events));
    default: {
      /* Memory that is dead, made up, or in use for something else. */
      senza_batch batch = SENZA_ZERO;
      batch.memory.id = one_in(t, 2) ? handle(t) : t->page.memory.id ^ (one_in(t, 2) ? 1 : 0);
      if (batch.memory.id == t->page.memory.id) batch.memory.id = 0;
      return senza_batch_free(POINTER(senza_batch, &batch));
    }
  }
}

static int run(void *argument) {
  struct thread *t = calloc(1, sizeof *t);
  t->state = (seed * 0x9e3779b97f4a7c15ull) ^ ((uintptr_t)argument + 1) * 0xd1342543de82ef95ull;
  for (size_t at = 0; at < POINTS; at++) t->ids[at] = t->named[at].sensor = t->named[at].attribute = senza_s("x");
  for (unsigned long made = 0; made < calls_max; made++) {
    senza_code code = call(t);
    if ((unsigned)code >= 32)
      atomic_fetch_add(&panics, 1);
    else
      atomic_fetch_add(&codes_seen[code], 1);
    if (code == SENZA_PANIC) {
      printf("  %s\n", senza_last_error());
      atomic_fetch_add(&panics, 1);
    }
    if (code != SENZA_OK && strlen(senza_last_error()) == 0) abort();
  }
  senza_batch_free(&t->batch);
  senza_page_free(&t->page);
  senza_texts_free(&t->texts);
  senza_node_views_free(&t->nodes);
  senza_event_batch_free(&t->events);
  senza_latencies_free(&t->latencies);
  free(t);
  return 0;
}

static void no_call_ends_the_process_or_panics(void) {
  thrd_t threads[THREADS];
  for (uintptr_t at = 0; at < THREADS; at++) CHECK(thrd_create(&threads[at], run, (void *)at) == thrd_success);
  for (int at = 0; at < THREADS; at++) thrd_join(threads[at], NULL);
  for (int code = 0; code < 32; code++)
    if (codes_seen[code] > 0) printf("  %s: %d\n", senza_code_name(code), codes_seen[code]);
  CHECK(panics == 0);
  /* That the good paths were reached as well. */
  CHECK(codes_seen[SENZA_OK] > 0 && codes_seen[SENZA_CLOSED] > 0 && codes_seen[SENZA_HANDLE] > 0);
  CHECK(codes_seen[SENZA_NULL] > 0 && codes_seen[SENZA_LENGTH] > 0 && codes_seen[SENZA_UTF8] > 0);
}

static void the_nodes_still_work(void) {
  for (int at = 0; at < SHARED; at++) {
    senza_sensor_close((senza_sensor){shared[at]});
    senza_subscription_close((senza_subscription){shared[at]});
    senza_events_close((senza_events){shared[at]});
  }
  senza_sensor sensor;
  senza_batch batch = SENZA_ZERO;
  OK(senza_sensor_register(node, senza_s("after all"), NULL, &sensor));
  OK(senza_sensor_put(sensor, senza_s("x"), senza_i64(7), SENZA_NOW, NULL));
  WAIT(place_of(other, "after all") == SENZA_THERE);
  OK(senza_history(other, senza_s("after all"), senza_s("x"), 1, &batch));
  CHECK(batch.count == 1 && batch.items[0].value.data.i64 == 7);
  OK(senza_batch_free(&batch));
  OK(senza_sensor_close(sensor));
  OK(senza_node_stop(other));
  OK(senza_node_stop(node));
  printf("  %d callbacks, %d last ones\n", callbacks, last_calls);
}

int main(int count, char **arguments) {
  begin_tests();
  if (count > 1) calls_max = strtoul(arguments[1], NULL, 10);
  if (count > 2) seed = strtoul(arguments[2], NULL, 10);
  printf("hostile %lu %lu\n", calls_max, seed);
  static struct thread filling;
  filling.state = seed + 1;
  for (size_t at = 0; at < BYTES; at++) bytes[at] = (unsigned char)(one_in(&filling, 3) ? next(&filling) : 'a');
  for (size_t at = 0; at < TEXTS; at++) texts[at] = senza_s(one_in(&filling, 2) ? "s1" : "x");
  if (start_node("a", other, &node) != SENZA_OK || start_node("b", node, &other) != SENZA_OK) {
    printf("nodes do not start: %s\n", senza_last_error());
    return 1;
  }
  RUN(no_call_ends_the_process_or_panics);
  RUN(the_nodes_still_work);
  return end_tests("hostile.c");
}
