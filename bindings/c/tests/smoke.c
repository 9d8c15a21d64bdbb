/* What a C program does with senza: two real nodes over loopback, every function at least once. C11. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdatomic.h>

#include "check.h"

static senza_node a, b;

static senza_filter only(const senza_str *sensor) {
  senza_filter filter = SENZA_ZERO;
  filter.sensors = sensor;
  filter.sensors_count = 1;
  return filter;
}

static void nodes_see_each_others_sensors(void) {
  senza_sensor on_a, on_b;
  OK(senza_sensor_register(a, senza_s("of a/1 \xc3\xa4"), NULL, &on_a));
  OK(senza_sensor_register(b, senza_s("of b"), NULL, &on_b));
  WAIT(place_of(b, "of a/1 \xc3\xa4") == SENZA_THERE);
  WAIT(place_of(a, "of b") == SENZA_THERE);
  senza_owner owner;
  OK(senza_whereis(a, senza_s("of b"), &owner));
  CHECK(strcmp(owner.node.text, "b") == 0 && owner.epoch > 0);
  OK(senza_whereis(b, senza_s("of b"), &owner));
  CHECK(owner.place == SENZA_HERE && strcmp(owner.node.text, "b") == 0);
  OK(senza_whereis(b, senza_s("nobody's"), &owner));
  CHECK(owner.place == SENZA_NOWHERE && owner.node.text[0] == '\0');
  OK(senza_sensor_close(on_a));
  OK(senza_sensor_close(on_b));
  WAIT(place_of(a, "of b") == SENZA_NOWHERE);
}

static void readings_cross_without_a_loss(void) {
  senza_sensor watch;
  OK(senza_sensor_register(a, senza_s("watch 1"), NULL, &watch));
  OK(senza_sensor_put(watch, senza_s("pulse"), senza_i64(0), SENZA_NOW, NULL));
  senza_str pattern = senza_s("watch%20$*/pulse");
  senza_filter filter = SENZA_ZERO;
  filter.patterns = &pattern;
  filter.patterns_count = 1;
  senza_contract contract = SENZA_ZERO;
  contract.start = SENZA_START_LATEST;
  senza_subscription reader;
  WAIT(place_of(b, "watch 1") == SENZA_THERE);
  OK(senza_subscribe(b, &filter, &contract, &reader));
  senza_batch batch = SENZA_ZERO;
  OK(senza_subscription_poll(reader, 0, limit_ms(), &batch));
  CHECK(batch.count == 1 && batch.items[0].what == SENZA_STARTING && batch.items[0].to == 1);
  CHECK(is_text(batch.items[0].series->sensor, "watch 1") && is_text(batch.items[0].series->attribute, "pulse"));
  CHECK(is_text(batch.items[0].series->node, "a") && is_text(batch.items[0].series->sensor_type, "generic"));
  uint64_t seq = 0;
  for (int64_t pulse = 1; pulse < 500; pulse++) {
    OK(senza_sensor_put(watch, senza_s("pulse"), senza_i64(pulse), pulse, &seq));
    CHECK(seq == (uint64_t)pulse + 1);
  }
  for (uint64_t next = 2; next <= 500;) {
    OK(senza_subscription_poll(reader, 7, limit_ms(), &batch));
    CHECK(batch.count > 0 && batch.count <= 7);
    for (size_t at = 0; at < batch.count; at++, next++) {
      const senza_item *item = &batch.items[at];
      CHECK(item->what == SENZA_READING && item->seq == next && item->series == batch.items[0].series);
      CHECK(item->value.kind == SENZA_I64 && item->value.data.i64 == (int64_t)next - 1);
      CHECK(item->time_us == (int64_t)next - 1 && item->received_us > 1600000000000000);
    }
  }
  CODE(SENZA_TIMEOUT, senza_subscription_poll(reader, 0, 0, &batch));
  CHECK(batch.count == 0);
  senza_ledger ledger;
  OK(senza_subscription_ledger(reader, &ledger));
  CHECK(ledger.offered == 500 && ledger.delivered == 500 && ledger.dropped == 0 && ledger.queued == 0);
  /* The end of a series is told. */
  OK(senza_sensor_close(watch));
  OK(senza_subscription_poll(reader, 0, limit_ms(), &batch));
  CHECK(batch.items[0].what == SENZA_END && batch.items[0].reason == SENZA_END_UNREGISTERED);
  CHECK(batch.items[0].seq == 500 && batch.items[0].value.kind == SENZA_NONE);
  OK(senza_batch_free(&batch));
  OK(senza_batch_free(&batch));
  OK(senza_subscription_close(reader));
  CODE(SENZA_CLOSED, senza_subscription_close(reader));
  SAYS("subscription");
}

static void values_of_every_kind_come_back(void) {
  senza_sensor sensor;
  OK(senza_sensor_register(a, senza_s("kinds"), NULL, &sensor));
  const float numbers[] = {1.5f, -2.0f, INFINITY};
  const unsigned char bytes[] = {0, 255, 7};
  const senza_value values[] = {
      senza_f64(NAN), senza_i64(INT64_MIN), senza_bool(7), senza_text(senza_sn("a\0b \xe2\x82\xac", 7)),
      senza_bytes(bytes, 3), senza_vector(numbers, 3), senza_json(senza_s("{\"x\": [1, null]}")),
      senza_text(senza_s(NULL)),
  };
  senza_batch here = SENZA_ZERO, there = SENZA_ZERO;
  WAIT(place_of(b, "kinds") == SENZA_THERE);
  for (size_t at = 0; at < sizeof values / sizeof *values; at++) {
    OK(senza_sensor_put(sensor, senza_s("any"), values[at], (int64_t)at, NULL));
    OK(senza_latest(a, senza_s("kinds"), senza_s("any"), &here));
    OK(senza_history(b, senza_s("kinds"), senza_s("any"), 1, &there));
    CHECK(here.count == 1 && there.count == 1);
    for (int side = 0; side < 2; side++) {
      senza_value value = (side == 0 ? here : there).items[0].value;
      CHECK(value.kind == values[at].kind);
      switch (value.kind) {
        case SENZA_F64: CHECK(isnan(value.data.f64)); break;
        case SENZA_I64: CHECK(value.data.i64 == INT64_MIN); break;
        case SENZA_BOOL: CHECK(value.data.boolean == 1); break;
        case SENZA_TEXT:
        case SENZA_BYTES:
          CHECK(value.data.text.length == values[at].data.text.length);
          CHECK(value.data.text.length == 0 ||
                memcmp(value.data.text.data, values[at].data.text.data, value.data.text.length) == 0);
          CHECK(value.data.text.data[value.data.text.length] == '\0');
          break;
        case SENZA_VECTOR: CHECK(value.data.vector.count == 3 && value.data.vector.data[2] == INFINITY); break;
        default: CHECK(is_text(value.data.text, "{\"x\":[1,null]}"));
      }
    }
  }
  CODE(SENZA_NOT_OWNER, senza_latest(b, senza_s("kinds"), senza_s("any"), &there));
  SAYS("\"kinds\" is owned by node a");
  CODE(SENZA_NOT_FOUND, senza_latest(a, senza_s("kinds"), senza_s("other"), &here));
  OK(senza_history(b, senza_s("kinds"), senza_s("any"), 3, &there));
  CHECK(there.count == 3 && there.items[0].seq == 6 && there.items[2].seq == 8 && there.items[2].time_us == 7);

  CODE(SENZA_UTF8, senza_sensor_put(sensor, senza_s("any"), senza_text(senza_s("\xff")), SENZA_NOW, NULL));
  CODE(SENZA_LENGTH, senza_sensor_put(sensor, senza_s("any"), senza_bytes(bytes, SIZE_MAX), SENZA_NOW, NULL));
  CODE(SENZA_LENGTH, senza_sensor_put(sensor, senza_s("any"), senza_vector(numbers, 4097), SENZA_NOW, NULL));
  CODE(SENZA_ARGUMENT, senza_sensor_put(sensor, senza_s("any"), senza_json(senza_s("{")), SENZA_NOW, NULL));
  CODE(SENZA_ARGUMENT, senza_sensor_put(sensor, senza_s("any"), senza_value_of(99), SENZA_NOW, NULL));
  CODE(SENZA_LENGTH, senza_sensor_put(sensor, senza_s(""), senza_i64(1), SENZA_NOW, NULL));
  SAYS("attribute id must have 1 to 64 bytes");
  OK(senza_batch_free(&here));
  OK(senza_batch_free(&there));
  OK(senza_sensor_close(sensor));
}

static void history_is_asked_of_the_owner_by_time(void) {
  enum { READINGS = 10 };
  const int64_t begin = 1700000000000000, second = 1000000;
  senza_sensor sensor;
  senza_batch batch = SENZA_ZERO;
  senza_range range = SENZA_ZERO;
  senza_str id = senza_s("in time"), x = senza_s("x");
  OK(senza_sensor_register(a, id, NULL, &sensor));
  for (int64_t at = 0; at < READINGS; at++) OK(senza_sensor_put(sensor, x, senza_i64(at), begin + at * second, NULL));
  WAIT(place_of(b, "in time") == SENZA_THERE);
  senza_node nodes[] = {a, b};
  for (int side = 0; side < 2; side++) {
    OK(senza_history_range(nodes[side], id, x, NULL, &batch));
    CHECK(batch.count == READINGS && batch.items[0].seq == 1 && batch.items[9].value.data.i64 == 9);
    /* Both ends are in it; of more than `last`, the newest. */
    memset(&range, 0, sizeof range);
    range.timeout_ms = 15000;
    range.since_us = begin + 2 * second;
    range.until_us = begin + 5 * second;
    OK(senza_history_range(nodes[side], id, x, &range, &batch));
    CHECK(batch.count == 4 && batch.items[0].time_us == range.since_us && batch.items[3].time_us == range.until_us);
    CHECK(is_text(batch.items[0].series->sensor, "in time") && is_text(batch.items[0].series->node, "a"));
    range.last = 2;
    OK(senza_history_range(nodes[side], id, x, &range, &batch));
    CHECK(batch.count == 2 && batch.items[0].value.data.i64 == 4);
    /* An end that is left open, and one that is now. */
    range.last = range.since_us = 0;
    OK(senza_history_range(nodes[side], id, x, &range, &batch));
    CHECK(batch.count == 6 && batch.items[0].seq == 1);
    range.since_us = begin + 7 * second;
    range.until_us = SENZA_NOW;
    OK(senza_history_range(nodes[side], id, x, &range, &batch));
    CHECK(batch.count == 3 && batch.items[0].seq == 8);
    range.since_us = begin + READINGS * second;
    OK(senza_history_range(nodes[side], id, x, &range, &batch));
    CHECK(batch.count == 0);
    CODE(SENZA_NOT_FOUND, senza_history_range(nodes[side], senza_s("nobody's"), x, &range, &batch));
    range.since_us = 3;
    range.until_us = 2;
    CODE(SENZA_ARGUMENT, senza_history_range(nodes[side], id, x, &range, &batch));
    SAYS("range: since_us = 3 is later than until_us = 2");
    CHECK(batch.count == 0);
    range.until_us = 0;
    range.timeout_ms = 15001;
    CODE(SENZA_ARGUMENT, senza_history_range(nodes[side], id, x, &range, &batch));
    SAYS("range.timeout_ms = 15001: must be 1 to 15000");
    range.last = 1000001;
    CODE(SENZA_LENGTH, senza_history_range(nodes[side], id, x, &range, &batch));
    SAYS("range.last");
  }
  OK(senza_batch_free(&batch));
  OK(senza_sensor_close(sensor));
}

static void batches_are_put_by_attribute_column_and_id(void) {
  enum { SENSORS = 10, ROUNDS = 20 };
  senza_sensor sensors[SENSORS];
  senza_attribute attributes[SENSORS];
  char ids[SENSORS][16];
  for (int at = 0; at < SENSORS; at++) {
    snprintf(ids[at], sizeof ids[at], "batch %d", at);
    OK(senza_sensor_register(a, senza_s(ids[at]), NULL, &sensors[at]));
    OK(senza_sensor_attribute(sensors[at], senza_s("x"), &attributes[at]));
  }
  senza_point points[SENSORS];
  senza_named_point named[SENSORS];
  double values[SENSORS];
  int64_t times[SENSORS];
  size_t refused = 99;
  for (int round = 0; round < ROUNDS; round++) {
    for (int at = 0; at < SENSORS; at++) {
      points[at].attribute = attributes[at];
      points[at].time_us = SENZA_NOW;
      points[at].value = senza_f64(round);
      named[at].sensor = senza_s(ids[at]);
      named[at].attribute = senza_s("x");
      named[at].time_us = SENZA_NOW;
      named[at].value = senza_i64(round);
      values[at] = round;
      times[at] = INT64_MAX / 2;
    }
    OK(senza_put_many(a, points, SENSORS, &refused));
    CHECK(refused == 0);
    OK(senza_put_many_by_id(a, named, SENSORS, NULL, NULL));
    OK(senza_put_columns(a, attributes, values, NULL, SENSORS, NULL));
    OK(senza_put_columns(a, attributes, values, times, SENSORS, NULL));
  }
  uint64_t seq;
  OK(senza_put(attributes[3], senza_f64(1), SENZA_NOW, &seq));
  CHECK(seq == 4 * ROUNDS + 1);
  OK(senza_put_by_id(a, senza_s("batch 3"), senza_s("x"), senza_f64(1), SENZA_NOW, &seq));
  CHECK(seq == 4 * ROUNDS + 2);

  /* What the cluster refuses is told point by point, the others are put. */
  senza_code codes[SENSORS];
  OK(senza_sensor_close(sensors[0]));
  named[1].attribute = senza_s("");
  CODE(SENZA_REFUSED, senza_put_many_by_id(a, named, SENSORS, codes, &refused));
  CHECK(refused == 2 && codes[0] == SENZA_NOT_FOUND && codes[1] == SENZA_LENGTH && codes[2] == SENZA_OK);
  SAYS("batch 0");
  CODE(SENZA_REFUSED, senza_put_many(a, points, SENSORS, &refused));
  CHECK(refused == 1);
  CODE(SENZA_UNREGISTERED, senza_put(attributes[0], senza_f64(1), SENZA_NOW, NULL));
  /* What breaks a rule refuses the batch, and nothing of it is put. */
  points[7].value.kind = 55;
  CODE(SENZA_ARGUMENT, senza_put_many(a, points, SENSORS, &refused));
  SAYS("point 7: value: kind 55");
  named[2].sensor = senza_sn("x", 1000);
  CODE(SENZA_LENGTH, senza_put_many_by_id(a, named, SENSORS, codes, &refused));
  SAYS("point 2: sensor id must have at most 256 bytes");
  points[7].value = senza_f64(1);
  CODE(SENZA_HANDLE, senza_put_many(b, points, SENSORS, &refused));
  SAYS("point 0: not an attribute of a sensor of this node");
  OK(senza_put(attributes[2], senza_f64(1), SENZA_NOW, &seq));
  CHECK(seq == 4 * ROUNDS + 3);
  CODE(SENZA_LENGTH, senza_put_many(a, points, SENZA_BATCH_MAX + 1, NULL));
  CODE(SENZA_NULL, senza_put_columns(a, attributes, NULL, NULL, SENSORS, NULL));
  OK(senza_put_many(a, NULL, 0, &refused));
  WAIT(place_of(b, "batch 3") == SENZA_THERE);
  CODE(SENZA_NOT_OWNER, senza_put_by_id(b, senza_s("batch 3"), senza_s("x"), senza_f64(1), SENZA_NOW, NULL));
  for (int at = 1; at < SENSORS; at++) OK(senza_sensor_close(sensors[at]));
}

static void what_overflows_is_told_as_a_gap(void) {
  senza_sensor sensor;
  senza_subscription reader;
  senza_str id = senza_s("full");
  senza_filter filter = only(&id);
  senza_contract contract = SENZA_ZERO;
  contract.queue_max = 4;
  OK(senza_sensor_register(a, id, NULL, &sensor));
  OK(senza_subscribe(a, &filter, &contract, &reader));
  for (int number = 1; number <= 10; number++)
    OK(senza_sensor_put(sensor, senza_s("x"), senza_i64(number), SENZA_NOW, NULL));
  senza_batch batch = SENZA_ZERO;
  OK(senza_subscription_poll(reader, 0, limit_ms(), &batch));
  CHECK(batch.count == 5 && batch.items[0].what == SENZA_GAP && batch.items[0].reason == SENZA_GAP_OVERFLOW);
  CHECK(batch.items[0].seq == 1 && batch.items[0].to == 6 && batch.items[1].seq == 7);
  senza_ledger ledger;
  OK(senza_subscription_ledger(reader, &ledger));
  CHECK(ledger.offered == 10 && ledger.delivered == 4 && ledger.dropped == 6);
  OK(senza_batch_free(&batch));
  OK(senza_subscription_close(reader));
  OK(senza_sensor_close(sensor));
}

static void contracts_are_kept_or_refused_by_name(void) {
  senza_subscription reader;
  senza_contract contract = SENZA_ZERO, kept;
  contract.want.pace = SENZA_INTERVAL;
  contract.want.interval_us = 1000;
  contract.want.deadband = SENZA_ABSOLUTE;
  contract.want.deadband_width = 0.5;
  contract.overflow = SENZA_BLOCK;
  contract.block_us = 1000;
  OK(senza_subscribe(a, NULL, &contract, &reader));
  OK(senza_subscription_contract(reader, &kept));
  CHECK(kept.want.pace == SENZA_INTERVAL && kept.want.interval_us == 1000 && kept.queue_max == 65536);
  CHECK(kept.overflow == SENZA_BLOCK && kept.block_us == 1000 && kept.want.deadband_width == 0.5);
  senza_sensor sensor;
  OK(senza_sensor_register(a, senza_s("waits"), NULL, &sensor));
  OK(senza_sensor_put_wait(sensor, senza_s("x"), senza_i64(1), SENZA_NOW, NULL));
  OK(senza_sensor_close(sensor));
  OK(senza_subscription_close(reader));
  contract.want.interval_us = 1;
  CODE(SENZA_ARGUMENT, senza_subscribe(a, NULL, &contract, &reader));
  SAYS("pace.interval = 1: must be 10 to 1000000000 microseconds");
  contract.want.pace = 77;
  CODE(SENZA_ARGUMENT, senza_subscribe(a, NULL, &contract, &reader));
  SAYS("want.pace = 77");
  senza_str pattern = senza_s("a//b");
  senza_filter filter = SENZA_ZERO;
  filter.patterns = &pattern;
  filter.patterns_count = 1;
  CODE(SENZA_ARGUMENT, senza_subscribe(a, &filter, NULL, &reader));
  SAYS("a chunk must not be empty");
  filter.patterns_count = 4097;
  CODE(SENZA_LENGTH, senza_subscribe(a, &filter, NULL, &reader));
  filter.patterns = NULL;
  filter.patterns_count = 1;
  CODE(SENZA_NULL, senza_subscribe(a, &filter, NULL, &reader));
}

static void lossless_attributes_have_nothing_left_out(void) {
  enum { READINGS = 10 };
  senza_node c;
  senza_config config = SENZA_ZERO;
  const senza_str lossless[] = {senza_s("button"), senza_s("ecg")};
  config.name = senza_s("c");
  config.mode = SENZA_LOCAL;
  config.lossless = lossless;
  config.lossless_count = 2;
  OK(senza_node_start(&config, &c));
  senza_sensor sensor;
  senza_subscription reader;
  senza_contract latest = SENZA_ZERO;
  senza_batch batch = SENZA_ZERO;
  latest.want.pace = SENZA_LATEST;
  OK(senza_sensor_register(c, senza_s("s"), NULL, &sensor));
  OK(senza_subscribe(c, NULL, &latest, &reader));
  for (int number = 0; number < READINGS; number++) {
    OK(senza_sensor_put(sensor, senza_s("x"), senza_i64(number), SENZA_NOW, NULL));
    OK(senza_sensor_put(sensor, senza_s("button"), senza_i64(number), SENZA_NOW, NULL));
  }
  OK(senza_subscription_poll(reader, 0, limit_ms(), &batch));
  int pressed = 0, others = 0;
  for (size_t at = 0; at < batch.count; at++) {
    if (!is_text(batch.items[at].series->attribute, "button")) others++;
    else CHECK(batch.items[at].what == SENZA_READING && batch.items[at].value.data.i64 == pressed++);
  }
  CHECK(pressed == READINGS && others == 1);
  OK(senza_batch_free(&batch));
  OK(senza_subscription_close(reader));
  OK(senza_sensor_close(sensor));
  OK(senza_node_stop(c));
}

struct called {
  atomic_int readings, ends, last;
  senza_subscription own;
  int closes;
};

static void on_items(void *user, const senza_item *items, size_t count) {
  struct called *called = user;
  if (count == 0) atomic_fetch_add(&called->last, 1);
  for (size_t at = 0; at < count; at++) {
    if (items[at].what == SENZA_READING) atomic_fetch_add(&called->readings, 1);
    if (items[at].what == SENZA_END) atomic_fetch_add(&called->ends, 1);
  }
  if (called->closes && called->own.id != 0) senza_subscription_close(called->own);
}

static void callbacks_come_until_the_last_one(void) {
  senza_sensor sensor;
  senza_subscription reader;
  struct called called = SENZA_ZERO;
  senza_str id = senza_s("calls");
  senza_filter filter = only(&id);
  OK(senza_sensor_register(a, id, NULL, &sensor));
  OK(senza_subscribe_callback(a, &filter, NULL, on_items, &called, &reader));
  for (int number = 0; number < 1000; number++)
    OK(senza_sensor_put(sensor, senza_s("x"), senza_i64(number), SENZA_NOW, NULL));
  senza_batch batch = SENZA_ZERO;
  CODE(SENZA_HANDLE, senza_subscription_poll(reader, 0, 0, &batch));
  OK(senza_sensor_close(sensor));
  WAIT(atomic_load(&called.ends) == 1);
  CHECK(atomic_load(&called.readings) == 1000 && atomic_load(&called.last) == 0);
  OK(senza_subscription_close(reader));
  CHECK(atomic_load(&called.last) == 1);

  /* A callback may end its own subscription. */
  struct called again = SENZA_ZERO;
  OK(senza_sensor_register(a, id, NULL, &sensor));
  OK(senza_subscribe_callback(a, &filter, NULL, on_items, &again, &again.own));
  again.closes = 1;
  OK(senza_sensor_put(sensor, senza_s("x"), senza_i64(1), SENZA_NOW, NULL));
  WAIT(atomic_load(&again.last) == 1);
  CODE(SENZA_CLOSED, senza_subscription_close(again.own));
  CODE(SENZA_NULL, senza_subscribe_callback(a, &filter, NULL, NULL, &again, &reader));
  OK(senza_sensor_close(sensor));
}

static void a_subscription_changes_what_it_follows(void) {
  senza_sensor one, two;
  senza_subscription reader;
  senza_str ids[] = {senza_s("one"), senza_s("two")};
  senza_filter filters[2];
  OK(senza_sensor_register(a, ids[0], NULL, &one));
  OK(senza_sensor_register(a, ids[1], NULL, &two));
  filters[0] = only(&ids[0]);
  filters[1] = only(&ids[1]);
  OK(senza_subscribe(a, &filters[0], NULL, &reader));
  OK(senza_subscription_change(reader, filters, 2));
  OK(senza_sensor_put(one, senza_s("x"), senza_i64(1), SENZA_NOW, NULL));
  OK(senza_sensor_put(two, senza_s("x"), senza_i64(2), SENZA_NOW, NULL));
  OK(senza_subscription_change(reader, NULL, 0));
  OK(senza_sensor_put(one, senza_s("x"), senza_i64(3), SENZA_NOW, NULL));
  senza_batch batch = SENZA_ZERO;
  OK(senza_subscription_poll(reader, 0, limit_ms(), &batch));
  CHECK(batch.count == 2 && is_text(batch.items[1].series->sensor, "two"));
  OK(senza_batch_free(&batch));
  OK(senza_subscription_close(reader));
  OK(senza_sensor_close(one));
  OK(senza_sensor_close(two));
}

static void listings_are_complete_and_say_so(void) {
  enum { SENSORS = 25 };
  senza_sensor sensors[SENSORS];
  senza_sensor_options options = SENZA_ZERO;
  options.sensor_type = senza_s("imu");
  options.meta = senza_s("{\"floor\": 3}");
  char ids[SENSORS + 1][16];
  senza_str asked[SENSORS + 1];
  for (int at = 0; at <= SENSORS; at++) {
    snprintf(ids[at], sizeof ids[at], "listed %d", at);
    asked[at] = senza_s(ids[at]);
    if (at < SENSORS) OK(senza_sensor_register(a, asked[at], &options, &sensors[at]));
  }
  for (int at = 0; at < SENSORS; at++) WAIT(place_of(b, ids[at]) == SENZA_THERE);
  senza_str type = senza_s("imu");
  senza_filter filter = SENZA_ZERO;
  filter.types = &type;
  filter.types_count = 1;
  senza_page page = SENZA_ZERO;
  for (int turn = 0; turn < 2; turn++) {
    size_t seen = 0, pages = 0;
    do {
      OK(senza_sensors(b, &filter, 10, &page));
      for (size_t at = 0; at < page.count; at++)
        CHECK(is_text(page.items[at].node, "a") && page.items[at].local == 0 && page.items[at].epoch > 0);
      seen += page.count;
      pages++;
    } while (!page.done);
    CHECK(seen == SENSORS && pages >= 3);
  }
  CODE(SENZA_LENGTH, senza_sensors(b, NULL, 0, &page));
  CHECK(page.done == 1 && page.count == 0);
  OK(senza_page_free(&page));

  senza_located located[SENSORS + 1];
  senza_life life;
  OK(senza_locate_many(b, asked, SENSORS + 1, located));
  CHECK(located[SENSORS].life == SENZA_NOBODY && located[0].life == located[1].life);
  OK(senza_life_of(b, located[0].life, &life));
  CHECK(strcmp(life.node.text, "a") == 0 && life.incarnation > 0);
  CODE(SENZA_NOT_FOUND, senza_life_of(b, SENZA_NOBODY, &life));
  OK(senza_locate_many(a, asked, 1, located));
  CHECK(located[0].life == 0);

  senza_node_views nodes = SENZA_ZERO;
  OK(senza_nodes(b, &nodes));
  CHECK(nodes.count == 2 && nodes.items[0].local == 1 && is_text(nodes.items[0].node, "b"));
  CHECK(nodes.items[1].sensors >= SENSORS && is_text(nodes.items[1].node, "a"));
  OK(senza_node_views_free(&nodes));

  options.meta = senza_s("[]");
  CODE(SENZA_ARGUMENT, senza_sensor_register(a, senza_s("bad"), &options, &sensors[0]));
  SAYS("meta must be a JSON object");
  for (int at = 0; at < SENSORS; at++) OK(senza_sensor_close(sensors[at]));
}

/* Waits for an event of a sensor or node, past others. */
static int next_event(senza_events events, uint32_t what, const char *of, senza_event_batch *batch) {
  while (senza_events_poll(events, 1, limit_ms(), batch) == SENZA_OK) {
    const senza_event *event = &batch->items[0];
    if (event->what == what && (is_text(event->sensor, of) || is_text(event->node, of))) return 1;
  }
  return 0;
}

static void what_happens_is_told_in_order(void) {
  senza_events events;
  senza_event_batch batch = SENZA_ZERO;
  senza_sensor first, second;
  senza_sensor_options options = SENZA_ZERO;
  senza_subscription reader;
  senza_str id = senza_s("moves");
  senza_filter filter = only(&id);
  OK(senza_events_open(a, &events));
  OK(senza_sensor_register(a, id, NULL, &first));
  CHECK(next_event(events, SENZA_REGISTERED, "moves", &batch));
  CHECK(batch.items[0].local == 1 && is_text(batch.items[0].node, "a") && batch.items[0].heal == NULL);
  WAIT(place_of(b, "moves") == SENZA_THERE);
  OK(senza_subscribe(a, &filter, NULL, &reader));
  OK(senza_sensor_put(first, senza_s("x"), senza_i64(1), SENZA_NOW, NULL));

  options.on_conflict = SENZA_REFUSE;
  CODE(SENZA_NOT_OWNER, senza_sensor_register(b, id, &options, &second));
  SAYS("owned by node a");
  OK(senza_sensor_register(b, id, NULL, &second));
  CHECK(next_event(events, SENZA_MOVED, "moves", &batch));
  CHECK(is_text(batch.items[0].node, "b") && is_text(batch.items[0].previous_node, "a"));
  CHECK(batch.items[0].epoch > batch.items[0].previous_epoch);
  senza_batch readings = SENZA_ZERO;
  size_t ends = 0;
  for (time_t begin = time(NULL); ends == 0 && time(NULL) - begin < LIMIT;) {
    OK(senza_subscription_poll(reader, 0, limit_ms(), &readings));
    for (size_t at = 0; at < readings.count; at++)
      ends += readings.items[at].what == SENZA_END && readings.items[at].reason == SENZA_END_MOVED;
  }
  CHECK(ends == 1);
  CODE(SENZA_NOT_OWNER, senza_sensor_put(first, senza_s("x"), senza_i64(1), SENZA_NOW, NULL));
  senza_sensor back;
  CODE(SENZA_HELD_OFF, senza_sensor_register(a, id, NULL, &back));
  options.on_conflict = SENZA_FORCE;
  OK(senza_sensor_register(a, id, &options, &back));
  CHECK(next_event(events, SENZA_MOVED, "moves", &batch));
  OK(senza_sensor_leave(back));
  CODE(SENZA_CLOSED, senza_sensor_leave(back));
  CHECK(place_of(a, "moves") == SENZA_HERE);
  OK(senza_sensor_unregister(a, id));
  CODE(SENZA_NOT_FOUND, senza_sensor_unregister(a, id));
  CHECK(next_event(events, SENZA_UNREGISTERED_EVENT, "moves", &batch));

  senza_node c;
  OK(start_node("c", a, &c));
  CHECK(next_event(events, SENZA_NODE_UP, "c", &batch));
  OK(senza_node_stop(c));
  CHECK(next_event(events, SENZA_NODE_DOWN, "c", &batch));
  CODE(SENZA_TIMEOUT, senza_events_poll(events, 0, 0, &batch));
  OK(senza_event_batch_free(&batch));
  OK(senza_batch_free(&readings));
  OK(senza_events_close(events));
  CODE(SENZA_CLOSED, senza_events_poll(events, 0, 0, &batch));
  OK(senza_subscription_close(reader));
  OK(senza_sensor_close(first));
  OK(senza_sensor_close(second));
}

/* Which of a node's heals settled a sensor; NULL where none did. */
static const senza_event *heal_of(senza_node node, const char *sensor, senza_event_batch *heals) {
  if (senza_heals(node, heals) != SENZA_OK) return NULL;
  for (size_t at = 0; at < heals->count; at++)
    for (size_t of = 0; of < heals->items[at].heal->settled_count; of++)
      if (is_text(heals->items[at].heal->settled[of].sensor, sensor)) return &heals->items[at];
  return NULL;
}

static void a_heal_says_what_it_settled(void) {
  senza_node c;
  senza_sensor first, second;
  senza_events on_a, on_c;
  senza_event_batch told = SENZA_ZERO, by_a = SENZA_ZERO, by_c = SENZA_ZERO;
  OK(start_node("c", a, &c));
  OK(senza_events_open(a, &on_a));
  OK(senza_events_open(c, &on_c));
  OK(senza_node_switch(c, SENZA_LOCAL, NULL));
  CHECK(next_event(on_a, SENZA_NODE_DOWN, "c", &told));
  OK(senza_sensor_register(a, senza_s("twice"), NULL, &first));
  OK(senza_sensor_register(c, senza_s("twice"), NULL, &second));
  OK(senza_node_switch(c, SENZA_CLUSTER, NULL));
  /* Whoever hears of the other's set first finds it, and the loser lets go at once. */
  WAIT(heal_of(a, "twice", &by_a) != NULL || heal_of(c, "twice", &by_c) != NULL);
  int is_a = heal_of(a, "twice", &by_a) != NULL;
  do CHECK(next_event(is_a ? on_a : on_c, SENZA_HEALED, is_a ? "c" : "a", &told));
  while (told.items[0].count == 0);
  const senza_event *both[] = {&told.items[0], heal_of(is_a ? a : c, "twice", &by_a)};
  for (int at = 0; at < 2; at++) {
    const senza_heal *heal = both[at]->heal;
    CHECK(both[at]->what == SENZA_HEALED && both[at]->count == 1 && is_text(both[at]->node, is_a ? "c" : "a"));
    CHECK(heal->settled_count == 1 && heal->returned <= 1 && heal->at_us > 1600000000000000);
    senza_claim winner = heal->settled->winner, loser = heal->settled->loser;
    CHECK(is_text(heal->settled->sensor, "twice") && is_text(winner.node, "c") && is_text(loser.node, "a"));
    CHECK(winner.epoch > loser.epoch && both[at]->incarnation == (is_a ? winner : loser).incarnation);
  }
  WAIT(place_of(a, "twice") == SENZA_THERE);
  OK(senza_event_batch_free(&by_a));
  OK(senza_event_batch_free(&by_c));
  OK(senza_event_batch_free(&told));
  OK(senza_events_close(on_a));
  OK(senza_events_close(on_c));
  OK(senza_sensor_close(first));
  OK(senza_sensor_close(second));
  OK(senza_node_stop(c));
  CODE(SENZA_CLOSED, senza_heals(c, &told));
}

/* What a node saw of a hop, that to or from another node where one is named; NULL where nothing. */
static const senza_latency *latency_of(senza_node node, uint32_t hop, const char *other, senza_latencies *latencies) {
  if (senza_node_latencies(node, latencies) != SENZA_OK) return NULL;
  for (size_t at = 0; at < latencies->count; at++) {
    const senza_latency *latency = &latencies->items[at];
    if (latency->hop == hop && latency->readings > 0 && is_text(latency->node, other)) return latency;
  }
  return NULL;
}

/* How far off a node's estimate of another's clock is at most; -1 where it has none. */
static int64_t clock_error_of(senza_node node, const char *other, senza_latencies *latencies) {
  if (senza_node_latencies(node, latencies) != SENZA_OK) return -1;
  for (size_t at = 0; at < latencies->clocks_count; at++)
    if (is_text(latencies->clocks[at].node, other)) return latencies->clocks[at].error_us;
  return -1;
}

static void latencies_are_told_hop_by_hop(void) {
  enum { READINGS = 100 };
  senza_node c;
  senza_sensor sensor;
  senza_subscription here, there;
  senza_batch batch = SENZA_ZERO;
  senza_latencies latencies = SENZA_ZERO;
  senza_str id = senza_s("timed");
  senza_filter filter = only(&id);
  OK(start_node("c", a, &c));
  OK(senza_sensor_register(c, id, NULL, &sensor));
  OK(senza_node_latencies(c, &latencies));
  CHECK(latencies.count >= 4 && latency_of(c, SENZA_HOP_LOCAL, "", &latencies) == NULL);
  WAIT(place_of(a, "timed") == SENZA_THERE);
  OK(senza_subscribe(c, &filter, NULL, &here));
  OK(senza_subscribe(a, &filter, NULL, &there));
  senza_attribute attribute;
  OK(senza_sensor_attribute(sensor, senza_s("x"), &attribute));
  for (int number = 0; number < READINGS; number++) OK(senza_put(attribute, senza_i64(number), SENZA_NOW, NULL));
  for (size_t taken = 0; taken < READINGS; taken += batch.count)
    OK(senza_subscription_poll(here, 0, limit_ms(), &batch));
  const uint32_t hops[] = {SENZA_HOP_SOURCE, SENZA_HOP_QUEUE, SENZA_HOP_LOCAL};
  for (int at = 0; at < 3; at++) {
    const senza_latency *latency = latency_of(c, hops[at], "", &latencies);
    CHECK(latency != NULL && latency->readings == READINGS && latency->impossible == 0);
    CHECK(latency->p50_us <= latency->p90_us && latency->p90_us <= latency->p99_us);
    CHECK(latency->p99_us <= latency->p999_us && latency->p999_us <= latency->max_us && latency->buckets_count > 0);
    uint64_t readings = 0;
    for (size_t of = 0; of < latency->buckets_count; of++) {
      CHECK(of == 0 || latency->buckets[of].up_to_us > latency->buckets[of - 1].up_to_us);
      readings += latency->buckets[of].readings;
    }
    CHECK(readings == READINGS && latency->buckets[latency->buckets_count - 1].up_to_us >= latency->p999_us);
  }
  /* Across the link, and the clocks: whatever of it a has been sent. */
  for (int number = 0; latency_of(a, SENZA_HOP_REMOTE, "", &latencies) == NULL; number++) {
    CHECK(number < 1000);
    OK(senza_put(attribute, senza_i64(number), SENZA_NOW, NULL));
    senza_subscription_poll(there, 0, 100, &batch);
  }
  CHECK(latency_of(a, SENZA_HOP_LINK, "c", &latencies) != NULL);
  WAIT(latency_of(c, SENZA_HOP_OWNER, "a", &latencies) != NULL);
  WAIT(clock_error_of(c, "a", &latencies) >= 0);
  OK(senza_latencies_free(&latencies));
  CHECK(latencies.items == NULL && latencies.clocks_count == 0);
  OK(senza_latencies_free(&latencies));
  OK(senza_batch_free(&batch));
  OK(senza_subscription_close(here));
  OK(senza_subscription_close(there));
  OK(senza_sensor_close(sensor));
  OK(senza_node_stop(c));
  CODE(SENZA_CLOSED, senza_node_latencies(c, &latencies));
}

static void a_device_hears_what_is_wanted_of_it(void) {
  senza_sensor sensor;
  senza_attribute attribute;
  senza_demand demand;
  senza_subscription reader;
  senza_str id = senza_s("wanted");
  senza_filter filter = only(&id);
  senza_contract contract = SENZA_ZERO;
  contract.want.pace = SENZA_INTERVAL;
  contract.want.interval_us = 100000;
  OK(senza_sensor_register(a, id, NULL, &sensor));
  OK(senza_sensor_attribute(sensor, senza_s("x"), &attribute));
  OK(senza_sensor_await_demand(sensor, 0, &demand));
  CHECK(demand.watched == 0);
  CODE(SENZA_TIMEOUT, senza_sensor_await_demand(sensor, 0, &demand));
  WAIT(place_of(b, "wanted") == SENZA_THERE);
  OK(senza_subscribe(b, &filter, &contract, &reader));
  OK(senza_sensor_await_demand(sensor, limit_ms(), &demand));
  CHECK(demand.watched == 1 && demand.want.pace == SENZA_INTERVAL && demand.want.interval_us == 100000);
  OK(senza_subscription_close(reader));
  OK(senza_sensor_await_demand(sensor, limit_ms(), &demand));
  CHECK(demand.watched == 0);
  OK(senza_sensor_demand(sensor, &demand));
  CHECK(demand.watched == 0);
  OK(senza_sensor_close(sensor));
}

static int32_t my_whereis(void *user, senza_str sensor, senza_name *node) {
  atomic_fetch_add((atomic_int *)user, 1);
  if (!(sensor.length == 8 && memcmp(sensor.data, "shadowed", 8) == 0)) return 0;
  strcpy(node->text, "elsewhere");
  return 1;
}

static atomic_int released;

static void my_release(void *user) {
  (void)user;
  atomic_fetch_add(&released, 1);
}

static void modes_are_switched_and_another_registry_compared(void) {
  senza_node c;
  senza_sensor sensor;
  uint32_t mode = 9;
  atomic_int asked = 0;
  OK(start_node("c", a, &c));
  OK(senza_sensor_register(c, senza_s("shadowed"), NULL, &sensor));
  WAIT(place_of(a, "shadowed") == SENZA_THERE);
  OK(senza_node_switch(c, SENZA_LOCAL, &mode));
  CHECK(mode == SENZA_CLUSTER);
  WAIT(place_of(a, "shadowed") == SENZA_NOWHERE);
  OK(senza_node_mode(c, &mode));
  CHECK(mode == SENZA_LOCAL);
  OK(senza_node_switch(c, SENZA_CLUSTER, NULL));
  WAIT(place_of(a, "shadowed") == SENZA_THERE);
  CODE(SENZA_ARGUMENT, senza_node_switch(c, 3, NULL));

  OK(senza_node_shadow(c, my_whereis, my_release, &asked));
  senza_owner owner;
  OK(senza_whereis(c, senza_s("shadowed"), &owner));
  CHECK(owner.place == SENZA_THERE && strcmp(owner.node.text, "elsewhere") == 0 && atomic_load(&asked) == 1);
  senza_comparison comparison;
  OK(senza_node_comparison(c, &comparison));
  CHECK(comparison.compared == 1 && comparison.other_node == 1);
  CODE(SENZA_NULL, senza_node_shadow(c, NULL, NULL, NULL));
  OK(senza_node_switch(c, SENZA_CLUSTER, &mode));
  CHECK(mode == SENZA_SHADOW && place_of(c, "shadowed") == SENZA_HERE);
  OK(senza_node_check(c));
  OK(senza_sensor_close(sensor));
  OK(senza_node_stop(c));
  WAIT(atomic_load(&released) == 1);
}

static void what_outlives_its_node_is_told(void) {
  senza_node c;
  senza_sensor sensor;
  senza_attribute attribute;
  senza_subscription polled, called;
  senza_events events;
  struct called calls = SENZA_ZERO;
  OK(start_node("c", a, &c));
  OK(senza_sensor_register(c, senza_s("short"), NULL, &sensor));
  OK(senza_sensor_attribute(sensor, senza_s("x"), &attribute));
  OK(senza_subscribe(c, NULL, NULL, &polled));
  OK(senza_subscribe_callback(c, NULL, NULL, on_items, &calls, &called));
  OK(senza_events_open(c, &events));
  OK(senza_sensor_put(sensor, senza_s("x"), senza_i64(1), SENZA_NOW, NULL));
  OK(senza_node_stop(c));
  CHECK(atomic_load(&calls.last) == 1 && atomic_load(&calls.readings) == 1);
  senza_batch batch = SENZA_ZERO;
  senza_event_batch happened = SENZA_ZERO;
  OK(senza_subscription_poll(polled, 0, 0, &batch));
  CHECK(batch.count >= 1 && batch.items[0].what == SENZA_READING);
  CODE(SENZA_CLOSED, senza_subscription_poll(polled, 0, 0, &batch));
  CODE(SENZA_CLOSED, senza_events_poll(events, 0, limit_ms(), &happened));
  CODE(SENZA_CLOSED, senza_sensor_put(sensor, senza_s("x"), senza_i64(1), SENZA_NOW, NULL));
  SAYS("stopped");
  CODE(SENZA_CLOSED, senza_put(attribute, senza_i64(1), SENZA_NOW, NULL));
  CODE(SENZA_CLOSED, senza_node_stop(c));
  SAYS("the node of this handle was closed");
  CODE(SENZA_CLOSED, senza_subscription_change(polled, NULL, 0));
  OK(senza_batch_free(&batch));
  OK(senza_event_batch_free(&happened));
  OK(senza_subscription_close(polled));
  OK(senza_subscription_close(called));
  OK(senza_events_close(events));
  OK(senza_sensor_close(sensor));
  WAIT(place_of(a, "short") == SENZA_NOWHERE);
}

static void settings_are_refused_by_name(void) {
  senza_node node;
  senza_config config = SENZA_ZERO;
  CODE(SENZA_ARGUMENT, senza_node_start(&config, &node));
  config.name = senza_s("Big");
  CODE(SENZA_ARGUMENT, senza_node_start(&config, &node));
  SAYS("node name \"Big\"");
  config.name = senza_s("c");
  config.history_max = 2000000;
  CODE(SENZA_ARGUMENT, senza_node_start(&config, &node));
  SAYS("history_max = 2000000: must be 1 to 1000000");
  config.history_max = 0;
  senza_str listen = senza_s("tcp/0.0.0.0:0");
  config.listen = &listen;
  config.listen_count = 1;
  CODE(SENZA_ARGUMENT, senza_node_start(&config, &node));
  SAYS("not loopback");
  listen = senza_s("tcp/127.0.0.1:0");
  config.mode = SENZA_SHADOW;
  CODE(SENZA_ARGUMENT, senza_node_start(&config, &node));
  config.mode = 0;
  senza_str lossless[] = {senza_s("button"), senza_s("")};
  config.lossless = lossless;
  config.lossless_count = 2;
  CODE(SENZA_LENGTH, senza_node_start(&config, &node));
  SAYS("lossless 1: attribute id");
  config.lossless_count = 4097;
  CODE(SENZA_LENGTH, senza_node_start(&config, &node));
  SAYS("lossless");
  config.lossless_count = 0;
  CODE(SENZA_NULL, senza_node_start(&config, NULL));
  SAYS("node must not be NULL");
  senza_texts endpoints = SENZA_ZERO;
  OK(senza_node_listening(a, &endpoints));
  config.listen = endpoints.items;
  CODE(SENZA_START, senza_node_start(&config, &node));
  OK(senza_texts_free(&endpoints));
}

static void handles_of_another_kind_are_told(void) {
  senza_sensor sensor, wrong;
  senza_owner owner;
  senza_node none = SENZA_ZERO, made_up = {UINT64_MAX}, as_node;
  OK(senza_sensor_register(a, senza_s("kind"), NULL, &sensor));
  as_node.id = sensor.id;
  wrong.id = a.id;
  CODE(SENZA_HANDLE, senza_whereis(as_node, senza_s("x"), &owner));
  SAYS("a node is wanted; this handle names a sensor");
  CODE(SENZA_HANDLE, senza_sensor_close(wrong));
  CODE(SENZA_HANDLE, senza_whereis(none, senza_s("x"), &owner));
  SAYS("the handle is zero");
  CODE(SENZA_HANDLE, senza_whereis(made_up, senza_s("x"), &owner));
  CODE(SENZA_NULL, senza_whereis(a, senza_s("x"), NULL));
  CODE(SENZA_NULL, senza_whereis(a, senza_sn(NULL, 3), &owner));
  OK(senza_sensor_close(sensor));
  CHECK(strcmp(senza_code_name(4711), "unknown code") == 0 && strcmp(senza_version(), "0.1.0") == 0);
  CODE(SENZA_ARGUMENT, senza_log_to_stderr(senza_s("=====")));
  OK(senza_log_to_stderr(senza_s("off")));
  CODE(SENZA_BUSY, senza_log_to_stderr(senza_s("off")));
}

int main(void) {
  begin_tests();
  if (start_node("a", b, &a) != SENZA_OK || start_node("b", a, &b) != SENZA_OK) {
    printf("nodes do not start: %s\n", senza_last_error());
    return 1;
  }
  RUN(nodes_see_each_others_sensors);
  RUN(readings_cross_without_a_loss);
  RUN(values_of_every_kind_come_back);
  RUN(history_is_asked_of_the_owner_by_time);
  RUN(batches_are_put_by_attribute_column_and_id);
  RUN(what_overflows_is_told_as_a_gap);
  RUN(contracts_are_kept_or_refused_by_name);
  RUN(lossless_attributes_have_nothing_left_out);
  RUN(callbacks_come_until_the_last_one);
  RUN(a_subscription_changes_what_it_follows);
  RUN(listings_are_complete_and_say_so);
  RUN(what_happens_is_told_in_order);
  RUN(a_heal_says_what_it_settled);
  RUN(latencies_are_told_hop_by_hop);
  RUN(a_device_hears_what_is_wanted_of_it);
  RUN(modes_are_switched_and_another_registry_compared);
  RUN(what_outlives_its_node_is_told);
  RUN(settings_are_refused_by_name);
  RUN(handles_of_another_kind_are_told);
  if (senza_node_stop(b) != SENZA_OK || senza_node_stop(a) != SENZA_OK) return 1;
  return end_tests("smoke.c");
}
