/*
 * What the tests of the header share: checks that name what failed, waiting with a deadline, nodes. C11 and C++17.
 *
 * A check that fails ends its test; the others still run. The last line is `N passed, N failed`.
 */
#ifndef SENZA_TESTS_CHECK_H
#define SENZA_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <senza.h>

static int tests_passed, tests_failed, test_failed;

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      printf("  %s:%d: not so: %s\n", __FILE__, __LINE__, #condition);      \
      test_failed = 1;                                                       \
      return;                                                                \
    }                                                                        \
  } while (0)

/* The code of a call, which must be this one. */
#define CODE(expected, call)                                                                                \
  do {                                                                                                      \
    senza_code code_ = (call);                                                                              \
    if (code_ != (expected)) {                                                                              \
      printf("  %s:%d: %s: %s instead of %s: %s\n", __FILE__, __LINE__, #call, senza_code_name(code_),     \
             senza_code_name(expected), code_ == SENZA_OK ? "" : senza_last_error());                       \
      test_failed = 1;                                                                                      \
      return;                                                                                               \
    }                                                                                                       \
  } while (0)

#define OK(call) CODE(SENZA_OK, call)

/* That the last message of this thread says so. */
#define SAYS(text)                                                                                 \
  do {                                                                                             \
    if (strstr(senza_last_error(), text) == NULL) {                                                \
      printf("  %s:%d: \"%s\" does not say: %s\n", __FILE__, __LINE__, senza_last_error(), text); \
      test_failed = 1;                                                                             \
      return;                                                                                      \
    }                                                                                              \
  } while (0)

/* Looks every few milliseconds until the condition holds; fails after a minute. */
#define WAIT(condition)                                 \
  do {                                                  \
    time_t begin_ = time(NULL);                         \
    while (!(condition) && time(NULL) - begin_ < LIMIT) \
      pause_a_little();                                 \
    CHECK(condition);                                   \
  } while (0)

/* Seconds that anything may take; tools that make the machine slow set SENZA_TEST_LIMIT. */
static long LIMIT = 60;

static inline void pause_a_little(void) {
  struct timespec pause = SENZA_ZERO;
  pause.tv_nsec = 5000000;
  nanosleep(&pause, NULL);
}

/* Milliseconds for calls that wait by themselves. */
static inline uint32_t limit_ms(void) { return (uint32_t)LIMIT * 1000; }

static inline void run_test(const char *name, void (*test)(void)) {
  test_failed = 0;
  test();
  printf("test %s ... %s\n", name, test_failed ? "FAILED" : "ok");
  fflush(stdout);
  if (test_failed)
    tests_failed++;
  else
    tests_passed++;
}

#define RUN(test) run_test(#test, test)

static inline void begin_tests(void) {
  const char *limit = getenv("SENZA_TEST_LIMIT");
  if (limit != NULL) LIMIT = atol(limit);
}

static inline int end_tests(const char *name) {
  printf("%s: %d passed, %d failed\n", name, tests_passed, tests_failed);
  return tests_failed > 0 || tests_passed == 0;
}

/* Starts a node that connects to another one, where that is not {0}. */
static inline senza_code start_node(const char *name, senza_node other, senza_node *node) {
  senza_config config = SENZA_ZERO;
  senza_texts endpoints = SENZA_ZERO;
  config.name = senza_s(name);
  /* No node is down, and no link given up, because the machine is slow. */
  senza_setting patient[2];
  patient[0].path = senza_s("transport/unicast/open_timeout");
  patient[1].path = senza_s("transport/unicast/accept_timeout");
  patient[0].value = patient[1].value = senza_s("60000");
  config.zenoh = patient;
  config.zenoh_count = 2;
  config.silence_ms = 60000;
  config.lease_ms = 60000;
  if (other.id != 0) {
    senza_code code = senza_node_listening(other, &endpoints);
    if (code != SENZA_OK) return code;
    config.connect = endpoints.items;
    config.connect_count = endpoints.count;
  }
  senza_code code = senza_node_start(&config, node);
  senza_texts_free(&endpoints);
  return code;
}

/* Where a node sees a sensor: a senza_where, -1 for a failure. */
static inline int place_of(senza_node node, const char *sensor) {
  senza_owner owner = SENZA_ZERO;
  return senza_whereis(node, senza_s(sensor), &owner) == SENZA_OK ? (int)owner.place : -1;
}

static inline int is_text(senza_str text, const char *expected) {
  return text.length == strlen(expected) && memcmp(text.data, expected, text.length) == 0 &&
         text.data[text.length] == '\0';
}

#endif
