/*
 * The C half of `compare`: does what compare.rs does, through senza.h. It is told what to do by lines on standard input
 * and answers each with a line: nanoseconds per reading, or per look-up.
 *
 *   compare SENSORS BATCH
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <senza.h>

/* With the NUL; what malloc takes for such a text. */
#define ID_MAX 32

static senza_node node;
static size_t sensors, batch;
static senza_attribute *attributes, *sorted;
static senza_point *points;
static senza_named_point *named;
static double *values;
static int64_t *times;
static senza_str *ids;
static size_t at;

static void must(senza_code code) {
  if (code == SENZA_OK) return;
  fprintf(stderr, "compare.c: %s: %s\n", senza_code_name(code), senza_last_error());
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Ids as they come: not in the order they were registered in. */
static size_t scattered(size_t number) { return number * 611953 % sensors; }

/* As benches/put.rs has them: all of one shard, then those of the next. */
static int by_shard(const void *a, const void *b) {
  const senza_attribute *x = a, *y = b;
  return x->id[1] != y->id[1] ? (x->id[1] < y->id[1] ? -1 : 1) : (x->id[0] < y->id[0] ? -1 : x->id[0] > y->id[0]);
}

static void set_up(void) {
  senza_config config = SENZA_ZERO;
  config.name = senza_s("c");
  must(senza_node_start(&config, &node));
  attributes = calloc(sensors, sizeof *attributes);
  points = calloc(batch, sizeof *points);
  named = calloc(batch, sizeof *named);
  values = calloc(batch, sizeof *values);
  times = malloc(batch * sizeof *times);
  for (size_t i = 0; i < batch; i++) times[i] = 1;
  ids = calloc(sensors, sizeof *ids);
  char *texts = malloc(sensors * ID_MAX);
  for (size_t number = 0; number < sensors; number++) {
    char *id = texts + number * ID_MAX;
    snprintf(id, ID_MAX, "building/sensor-%08u", (unsigned)number);
    ids[number] = senza_s(id);
    senza_sensor sensor;
    must(senza_sensor_register(node, ids[number], NULL, &sensor));
    must(senza_sensor_attribute(sensor, senza_s("value"), &attributes[number]));
  }
  sorted = malloc(sensors * sizeof *sorted);
  memcpy(sorted, attributes, sensors * sizeof *sorted);
  qsort(sorted, sensors, sizeof *sorted, by_shard);
}

static void put_of(const senza_attribute *from, double value) {
  for (size_t i = 0; i < batch; i++) {
    points[i].attribute = from[(at + i) % sensors];
    points[i].time_us = 1;
    points[i].value = senza_f64(value);
  }
  at += batch;
  must(senza_put_many(node, points, batch, NULL));
}

static void put_batch(double value) { put_of(sorted, value); }

static void put_scattered(double value) { put_of(attributes, value); }

static void put_columns(double value) {
  if (at + batch > sensors) at = 0;
  for (size_t i = 0; i < batch; i++) values[i] = value;
  must(senza_put_columns(node, sorted + at, values, times, batch, NULL));
  at += batch;
}

static void put_by_id(double value) {
  for (size_t i = 0; i < batch; i++) {
    named[i].sensor = ids[scattered(at + i)];
    named[i].attribute = senza_s("value");
    named[i].time_us = 1;
    named[i].value = senza_f64(value);
  }
  at += batch;
  must(senza_put_many_by_id(node, named, batch, NULL, NULL));
}

static void put_singly(double value) {
  for (size_t i = 0; i < batch; i++)
    must(senza_put(attributes[(at + i) % sensors], senza_f64(value), 1, NULL));
  at += batch;
}

static void whereis(double value) {
  (void)value;
  size_t found = 0;
  for (size_t i = 0; i < batch; i++) {
    senza_owner owner;
    must(senza_whereis(node, ids[scattered(at + i)], &owner));
    found += owner.place == SENZA_HERE;
  }
  at += batch;
  if (found != batch) must(SENZA_NOT_FOUND);
}

static senza_str *asked;
static senza_located *located;

static void locate_many(double value) {
  (void)value;
  for (size_t i = 0; i < batch; i++) asked[i] = ids[scattered(at + i)];
  must(senza_locate_many(node, asked, batch, located));
  at += batch;
}

static const struct {
  const char *name;
  void (*work)(double);
} works[] = {{"put batch", put_batch},       {"put columns", put_columns}, {"put batch, scattered", put_scattered},
             {"put batch by id", put_by_id}, {"put singly", put_singly},   {"whereis", whereis},
             {"locate many", locate_many}};

int main(int count, char **arguments) {
  if (count < 3) return 2;
  sensors = strtoul(arguments[1], NULL, 10);
  batch = strtoul(arguments[2], NULL, 10);
  asked = calloc(batch, sizeof *asked);
  located = calloc(batch, sizeof *located);
  set_up();
  char line[64], name[32];
  unsigned long batches;
  puts("ready");
  fflush(stdout);
  /* A line is: batches, work. */
  while (fgets(line, sizeof line, stdin) != NULL && sscanf(line, "%lu %31[^\n]", &batches, name) == 2) {
    for (size_t work = 0; work < sizeof works / sizeof *works; work++) {
      if (strcmp(works[work].name, name) != 0) continue;
      double begin = seconds();
      for (unsigned long turn = 0; turn < batches; turn++) works[work].work((double)turn);
      printf("%.3f\n", (seconds() - begin) * 1e9 / (double)(batches * batch));
      fflush(stdout);
    }
  }
  must(senza_node_stop(node));
  return 0;
}
