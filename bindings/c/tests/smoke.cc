// What a C++ program does with senza: handles that close themselves, lambdas, threads. C++17.
#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "check.h"

namespace {

senza_str str(std::string_view text) { return senza_sn(text.data(), text.size()); }
std::string_view view(senza_str text) { return {text.data, text.length}; }

// Closes what it holds as it goes.
template <typename Handle, senza_code (*Close)(Handle)>
struct Owned {
  Handle handle SENZA_ZERO;
  Owned() = default;
  Owned(const Owned &) = delete;
  Owned &operator=(const Owned &) = delete;
  ~Owned() {
    if (handle.id != 0) Close(handle);
  }
};
using Node = Owned<senza_node, senza_node_stop>;
using Sensor = Owned<senza_sensor, senza_sensor_close>;
using Subscription = Owned<senza_subscription, senza_subscription_close>;

struct Batch : senza_batch {
  Batch() : senza_batch() {}
  Batch(const Batch &) = delete;
  Batch &operator=(const Batch &) = delete;
  ~Batch() { senza_batch_free(this); }
  const senza_item *begin() const { return items; }
  const senza_item *end() const { return items + count; }
};

senza_filter only(const senza_str &sensor) {
  senza_filter filter = SENZA_ZERO;
  filter.sensors = &sensor;
  filter.sensors_count = 1;
  return filter;
}

Node *a, *b;

void ids_may_hold_any_character() {
  using namespace std::string_view_literals;
  const auto id = "hall 3/\0\xE2\x84\x96*?#$@%"sv;
  Sensor sensor;
  OK(senza_sensor_register(a->handle, str(id), nullptr, &sensor.handle));
  senza_owner owner = SENZA_ZERO;
  WAIT(senza_whereis(b->handle, str(id), &owner) == SENZA_OK && owner.place == SENZA_THERE);
  OK(senza_sensor_put(sensor.handle, str("x"), senza_text(str("y")), SENZA_NOW, nullptr));
  Batch batch;
  OK(senza_history(b->handle, str(id), str("x"), 1, &batch));
  CHECK(batch.count == 1 && view(batch.items->series->sensor) == id && view(batch.items->value.data.text) == "y");
}

void threads_put_and_one_reads_all() {
  constexpr int threads = 4, rounds = 500;
  const auto id = str("shared");
  const auto filter = only(id);
  Sensor sensor;
  Subscription reader;
  OK(senza_sensor_register(a->handle, id, nullptr, &sensor.handle));
  OK(senza_subscribe(a->handle, &filter, nullptr, &reader.handle));
  std::atomic<int> failures{0};
  std::vector<std::thread> writers;
  for (int thread = 0; thread < threads; thread++)
    writers.emplace_back([&, attribute = "x" + std::to_string(thread)] {
      for (int64_t round = 0; round < rounds; round++)
        failures += senza_sensor_put(sensor.handle, str(attribute), senza_i64(round), SENZA_NOW, nullptr) != SENZA_OK;
    });
  int64_t next[threads] = {};
  int in_order = 1;
  Batch batch;
  for (int taken = 0; taken < threads * rounds;) {
    if (senza_subscription_poll(reader.handle, 100, limit_ms(), &batch) != SENZA_OK) break;
    for (const auto &item : batch)
      in_order &= item.value.data.i64 == next[item.series->attribute.data[1] - '0']++;
    taken += static_cast<int>(batch.count);
  }
  for (auto &writer : writers) writer.join();
  CHECK(failures == 0 && in_order);
  for (auto seen : next) CHECK(seen == rounds);
}

void one_polls_and_another_ends_the_wait() {
  const auto id = str("quiet");
  const auto filter = only(id);
  Subscription reader;
  OK(senza_subscribe(a->handle, &filter, nullptr, &reader.handle));
  std::atomic<int> code{-1};
  std::thread waiting([&] {
    Batch batch;
    // The other one may poll just now, too.
    do code = senza_subscription_poll(reader.handle, 0, limit_ms(), &batch);
    while (code == SENZA_BUSY);
  });
  Batch batch;
  WAIT(senza_subscription_poll(reader.handle, 0, 0, &batch) == SENZA_BUSY);
  senza_ledger ledger = SENZA_ZERO;
  OK(senza_subscription_ledger(reader.handle, &ledger));
  OK(senza_subscription_close(reader.handle));
  waiting.join();
  reader.handle.id = 0;
  CHECK(code == SENZA_CLOSED);
}

void messages_are_each_threads_own() {
  Sensor sensor;
  CODE(SENZA_LENGTH, senza_sensor_register(a->handle, str(""), nullptr, &sensor.handle));
  std::string other;
  std::thread([&] {
    other = senza_last_error();
    senza_node_stop(senza_node{});
    other += senza_last_error();
  }).join();
  CHECK(other == "no node: the handle is zero");
  SAYS("sensor id must have 1 to 256 bytes");
}

void a_lambda_is_called_and_may_stop_the_node() {
  struct Called {
    senza_node node;
    std::atomic<int> readings{0}, last{0};
  };
  Called called{{0}, {}, {}};
  OK(start_node("c", a->handle, &called.node));
  const auto on_items = [](void *user, const senza_item *, size_t count) {
    auto *called = static_cast<Called *>(user);
    if (count == 0) called->last++;
    called->readings += static_cast<int>(count);
    if (count > 0) senza_node_stop(called->node);
  };
  Sensor sensor;
  Subscription reader;
  OK(senza_sensor_register(called.node, str("stops"), nullptr, &sensor.handle));
  OK(senza_subscribe_callback(called.node, nullptr, nullptr, on_items, &called, &reader.handle));
  OK(senza_sensor_put(sensor.handle, str("x"), senza_bool(true), SENZA_NOW, nullptr));
  WAIT(called.last == 1);
  CHECK(called.readings >= 1);
  CODE(SENZA_CLOSED, senza_node_stop(called.node));
}

void handles_may_be_closed_while_others_use_them() {
  std::atomic<int> wrong{0}, unexpected{0};
  // Under a tool that runs one thread at a time, those that never wait hold up the one that closes.
  const int rounds = LIMIT > 60 ? 3 : 20;
  for (int round = 0; round < rounds; round++) {
    senza_sensor sensor = SENZA_ZERO;
    OK(senza_sensor_register(a->handle, str("raced"), nullptr, &sensor));
    std::vector<std::thread> users;
    for (int user = 0; user < 3; user++)
      users.emplace_back([&] {
        senza_code code = SENZA_OK;
        while (code == SENZA_OK) code = senza_sensor_put(sensor, str("x"), senza_f64(1), SENZA_NOW, nullptr);
        unexpected += code != SENZA_CLOSED && code != SENZA_UNREGISTERED;
      });
    wrong += senza_sensor_close(sensor) != SENZA_OK;
    for (auto &user : users) user.join();
  }
  CHECK(wrong == 0 && unexpected == 0);
}

void a_registry_is_let_go_of_when_its_node_stops() {
  struct Registry {
    std::atomic<bool> is_slow{false}, is_asked{false};
    std::atomic<int> released{0};
  };
  static Registry registry;
  const auto whereis = [](void *, senza_str, senza_name *) -> int32_t {
    registry.is_asked = true;
    for (int pause = 0; registry.is_slow && pause < 100; pause++) pause_a_little();
    registry.is_asked = false;
    return 0;
  };
  const auto release = [](void *) {
    senza_owner owner = SENZA_ZERO;
    registry.released += senza_whereis(a->handle, str("s"), &owner) == SENZA_OK && !registry.is_asked;
  };
  senza_node node = SENZA_ZERO;
  OK(start_node("c", a->handle, &node));
  OK(senza_node_shadow(node, whereis, release, nullptr));
  CHECK(place_of(node, "s") == SENZA_NOWHERE);
  std::atomic<bool> has_called{false}, may_end{false};
  std::thread idle([&] {
    place_of(node, "s");
    has_called = true;
    while (!may_end) pause_a_little();
  });
  while (!has_called) pause_a_little();
  registry.is_slow = true;
  std::thread asking([&] { place_of(node, "s"); });
  while (!registry.is_asked) pause_a_little();
  const senza_code stopped = senza_node_stop(node);
  const int released = registry.released;
  may_end = true;
  idle.join();
  asking.join();
  OK(stopped);
  CHECK(released == 1 && registry.released == 1);
}

// What a thread calls as it ends, after the library gave up what it keeps for it.
struct Late {
  senza_attribute attribute SENZA_ZERO;
  std::atomic<int> *refused = nullptr;
  // How many calls are refused.
  int calls() const {
    const senza_str sensor = str("late"), x = str("x");
    const senza_point plain = {attribute, SENZA_NOW, senza_f64(2)}, text = {attribute, SENZA_NOW, senza_text(x)};
    const senza_named_point named = {sensor, x, SENZA_NOW, senza_f64(3)};
    const double value = 4;
    senza_located located = SENZA_ZERO;
    senza_owner owner = SENZA_ZERO;
    const senza_code codes[] = {
        senza_put(attribute, senza_f64(1), SENZA_NOW, nullptr),
        senza_put_many(a->handle, &plain, 1, nullptr),
        senza_put_many(a->handle, &text, 1, nullptr),
        senza_put_columns(a->handle, &attribute, &value, nullptr, 1, nullptr),
        senza_put_many_by_id(a->handle, &named, 1, nullptr, nullptr),
        senza_locate_many(a->handle, &sensor, 1, &located),
        senza_whereis(a->handle, sensor, &owner),
    };
    int refused = 0;
    for (const senza_code code : codes) refused += code != SENZA_OK;
    return refused;
  }
  ~Late() {
    if (refused != nullptr) *refused = calls();
  }
};
thread_local Late late;

void a_thread_that_ends_may_still_call() {
  Sensor sensor;
  senza_attribute attribute = SENZA_ZERO;
  OK(senza_sensor_register(a->handle, str("late"), nullptr, &sensor.handle));
  OK(senza_sensor_attribute(sensor.handle, str("x"), &attribute));
  std::atomic<int> refused{-1}, refused_before{-1};
  std::thread ending([&] {
    late.attribute = attribute;
    late.refused = &refused;
    refused_before = late.calls();
  });
  ending.join();
  CHECK(refused_before == 0 && refused == 0);
}

void lines_of_the_log_are_given_out() {
  struct Log {
    senza_node node SENZA_ZERO;
    std::atomic<int> left{0}, came_back{0}, calls{0};
    std::atomic<senza_code> switched{SENZA_BUSY};
  };
  static Log log;
  const auto on_log = [](void *user, const senza_log_line *line) {
    auto *log = static_cast<Log *>(user);
    const auto message = view(line->message), target = view(line->target);
    log->calls++;
    if (line->level != SENZA_LOG_INFO || target.find("senza_mesh") != 0 || line->time_us < 1600000000000000) return;
    log->left += message == "mode switched from=\"cluster\" to=\"local\"";
    log->came_back += message == "mode switched from=\"local\" to=\"cluster\"";
    // What is logged within a call is not given out again.
    if (log->left == 1 && log->switched == SENZA_BUSY)
      log->switched = senza_node_switch(log->node, SENZA_CLUSTER, nullptr);
  };
  CODE(SENZA_CLOSED, senza_log_close());
  CODE(SENZA_NULL, senza_log_to(str("info"), nullptr, nullptr));
  CODE(SENZA_ARGUMENT, senza_log_to(str("====="), on_log, &log));
  SAYS("filter: ");
  OK(senza_log_to(str("off,senza_mesh=info"), on_log, &log));
  CODE(SENZA_BUSY, senza_log_to(str("info"), on_log, &log));
  CODE(SENZA_BUSY, senza_log_to_stderr(str("off")));
  OK(start_node("c", a->handle, &log.node));
  OK(senza_node_switch(log.node, SENZA_LOCAL, nullptr));
  WAIT(log.switched == SENZA_OK);
  OK(senza_node_switch(log.node, SENZA_LOCAL, nullptr));
  OK(senza_log_close());
  CHECK(log.left == 2 && log.came_back == 0);
  const int calls = log.calls;
  OK(senza_node_stop(log.node));
  CHECK(log.calls == calls);
  CODE(SENZA_CLOSED, senza_log_close());
  SAYS("the log was closed");
}

}  // namespace

int main() {
  begin_tests();
  Node first, second;
  if (start_node("a", senza_node{}, &first.handle) != SENZA_OK ||
      start_node("b", first.handle, &second.handle) != SENZA_OK) {
    std::printf("nodes do not start: %s\n", senza_last_error());
    return 1;
  }
  a = &first;
  b = &second;
  RUN(ids_may_hold_any_character);
  RUN(threads_put_and_one_reads_all);
  RUN(one_polls_and_another_ends_the_wait);
  RUN(messages_are_each_threads_own);
  RUN(a_lambda_is_called_and_may_stop_the_node);
  RUN(handles_may_be_closed_while_others_use_them);
  RUN(a_registry_is_let_go_of_when_its_node_stops);
  RUN(a_thread_that_ends_may_still_call);
  RUN(lines_of_the_log_are_given_out);
  return end_tests("smoke.cc");
}
