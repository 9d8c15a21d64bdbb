/*
 * Two nodes in one process: a sensor on one, a subscriber on the other. C11 and C++17 alike:
 *
 *   cc -std=c11 embed.c $(pkg-config --cflags --libs senza) -Wl,-rpath,$(pkg-config --variable=libdir senza) -o embed
 *   ./embed
 */
#include <stdio.h>

#include <senza.h>

/* What a program does with a code that it did not expect. */
static int failed(const char *what, senza_code code) {
  if (code == SENZA_OK) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, senza_code_name(code), senza_last_error());
  return 1;
}

static void print_item(const senza_item *item) {
  const char *sensor = item->series->sensor.data; /* ends with a NUL */
  switch (item->what) {
    case SENZA_READING:
    case SENZA_STARTING:
      printf("%s: %.1f (number %llu)\n", sensor, item->value.data.f64, (unsigned long long)item->seq);
      break;
    case SENZA_GAP: /* told, never silent */
      printf("%s: lost %llu to %llu\n", sensor, (unsigned long long)item->seq, (unsigned long long)item->to);
      break;
    default:
      printf("%s: no more\n", sensor);
  }
}

/* Starts b beside a, and reads on b what is put on a. */
static int run(senza_node a, senza_node *b) {
  senza_texts endpoints = SENZA_ZERO;
  if (failed("listening", senza_node_listening(a, &endpoints))) return 1;
  senza_config config = SENZA_ZERO;
  config.name = senza_s("b");
  config.connect = endpoints.items;
  config.connect_count = endpoints.count;
  senza_code code = senza_node_start(&config, b);
  senza_texts_free(&endpoints);
  if (failed("start b", code)) return 1;

  senza_sensor watch = SENZA_ZERO; /* closing it unregisters */
  if (failed("register", senza_sensor_register(a, senza_s("watch 1"), NULL, &watch))) return 1;

  senza_str pattern = senza_s("watch%20$*/pulse");
  senza_filter filter = SENZA_ZERO;
  filter.patterns = &pattern;
  filter.patterns_count = 1;
  senza_contract contract = SENZA_ZERO;
  contract.start = SENZA_START_LAST; /* what is kept, then live, without a gap or a duplicate between */
  contract.start_last = 10;
  senza_subscription reader = SENZA_ZERO;
  if (failed("subscribe", senza_subscribe(*b, &filter, &contract, &reader))) return 1;

  for (int pulse = 70; pulse < 75; pulse++) {
    if (failed("put", senza_sensor_put(watch, senza_s("pulse"), senza_f64(pulse), SENZA_NOW, NULL))) return 1;
  }
  senza_batch batch = SENZA_ZERO;
  while ((code = senza_subscription_poll(reader, 0, 1000, &batch)) == SENZA_OK) {
    for (size_t at = 0; at < batch.count; at++) print_item(&batch.items[at]);
  }
  senza_batch_free(&batch);
  if (code != SENZA_TIMEOUT && failed("poll", code)) return 1;

  senza_owner owner = SENZA_ZERO;
  if (failed("whereis", senza_whereis(*b, senza_s("watch 1"), &owner))) return 1;
  printf("b sees it at: %s\n", owner.node.text);

  return failed("close", senza_subscription_close(reader)) | failed("close", senza_sensor_close(watch));
}

int main(void) {
  senza_node a = SENZA_ZERO, b = SENZA_ZERO;
  senza_config config = SENZA_ZERO; /* a free port of loopback */
  config.name = senza_s("a");
  if (failed("start a", senza_node_start(&config, &a))) return 1;
  int status = run(a, &b);
  if (b.id != 0) status |= failed("stop b", senza_node_stop(b));
  return status | failed("stop a", senza_node_stop(a));
}
