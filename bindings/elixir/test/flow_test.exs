# Subscriptions and events on one node: shapes, order, bounded mailboxes, told gaps, ends.

defmodule Senza.FlowTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.SensorRegistry

  setup do
    start_supervised!({Senza, node: "a", lossless: ["button"]})
    {:ok, watch} = Senza.register("watch 1", type: "watch")
    {:ok, watch: watch}
  end

  defp queue_of(pid), do: pid |> Process.info(:message_queue_len) |> elem(1)

  test "readings come in order, as a tuple, a struct or a measurement", %{watch: watch} do
    feeds =
      for format <- [:tuple, :struct, :measurement] do
        {:ok, feed} = Senza.subscribe("watch%201/*", format: format)
        feed
      end

    for n <- 1..3, do: {:ok, ^n} = Senza.Sensor.put(watch, "pulse", n, time: n * 1_000)
    [tuples, structs, measurements] = Enum.map(feeds, &items(&1, 3))
    assert tuples == for(n <- 1..3, do: {:reading, "watch 1", "pulse", n, n * 1_000, n})
    assert [{:reading, %Senza.Reading{sensor: "watch 1", value: 1, seq: 1, node: "a", type: "watch"}} | _] = structs

    assert measurements ==
             for(
               n <- 1..3,
               do: {:measurement, %{sensor_id: "watch 1", attribute_id: "pulse", payload: n, timestamp: n}}
             )
  end

  test "a slow process has a bounded mailbox, and is told what it missed", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/*", window: 2, batch_max: 10, queue_max: 50)
    count = 10_000
    for n <- 1..count, do: {:ok, ^n} = Senza.Sensor.put(watch, "pulse", n)
    eventually(fn -> Senza.ledger(feed).queued == 50 end)
    assert queue_of(self()) <= 2

    # From here on it works off what there is: every number is read or told, in order.
    {:ok, last} = Senza.Sensor.put(watch, "end", true)
    assert last == 1

    total =
      Stream.repeatedly(fn ->
        batch = batch(feed)
        assert queue_of(self()) <= 2
        Senza.ack(feed)
        batch
      end)
      |> Enum.reduce_while(0, fn batch, seen ->
        {seen, done} = Enum.reduce(batch, {seen, false}, &account/2)
        if done, do: {:halt, seen}, else: {:cont, seen}
      end)

    assert total == count
    ledger = Senza.ledger(feed)
    assert ledger.offered == count + 1
    assert ledger.dropped > count - 200
    assert ledger.offered == ledger.delivered + ledger.dropped
  end

  defp account({:reading, _, "end", true, _, 1}, {seen, _}), do: {seen, true}
  defp account({:reading, _, "pulse", n, _, n}, {seen, done}) when n == seen + 1, do: {n, done}
  defp account({:gap, "watch 1", "pulse", from, to, :overflow}, {seen, done}) when from == seen + 1, do: {to, done}

  test "no acknowledgement is lost, however close it comes to a reading", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/*", window: 1, batch_max: 1)
    count = 50_000
    spawn_link(fn -> for n <- 1..count, do: {:ok, ^n} = Senza.Sensor.put(watch, "pulse", n) end)
    for n <- 1..count, do: assert({:ok, [{:reading, _, _, ^n, _, ^n}]} = Senza.next(feed, 60_000))
  end

  test "events wait for a slow process too" do
    {:ok, feed} = Senza.listen([])
    assert :ok = Senza.unsubscribe(feed)
    {:ok, feed} = Senza.listen(window: 1, batch_max: 5)
    for n <- 1..1_000, do: :ok = SensorRegistry.register("s #{n}", self())
    assert [_ | _] = first = batch(feed)
    assert queue_of(self()) == 0
    Senza.ack(feed)
    events = first ++ items(feed, 1_000 - length(first))
    assert events == for(n <- 1..1_000, do: {:sensor_registered, "s #{n}", "a"})
    SensorRegistry.unregister("s 1")
    assert items(feed, 1) == [{:sensor_unregistered, "s 1", "a"}]
  end

  test "unsubscribing leaves nothing in the mailbox", %{watch: watch} do
    for _ <- 1..50 do
      {:ok, feed} = Senza.subscribe("watch%201/*", window: 100, batch_max: 1)
      for n <- 1..20, do: Senza.Sensor.put(watch, "pulse", n)
      assert :ok = Senza.unsubscribe(feed)
      assert queue_of(self()) == 0
      {:ok, _} = Senza.Sensor.put(watch, "pulse", 1)
      assert queue_of(self()) == 0
      assert :ok = Senza.unsubscribe(feed)
      refute_received {:senza, ^feed, _}
    end

    # Nothing of them is left to be wanted.
    eventually(fn -> Senza.demand("watch 1") == nil end)

    # Also where somebody else has ended it just now, or its queue did.
    for _ <- 1..2_000 do
      {:ok, feed} = Senza.subscribe("watch%201/*")
      Senza.Native.close(feed)
      assert :ok = Senza.unsubscribe(feed)
    end

    for _ <- 1..200 do
      {:ok, feed} = Senza.subscribe("watch%201/*", overflow: :close, queue_max: 1, batch_max: 1)
      :ok = Senza.put_many(for n <- 1..10, do: {"watch 1", "pulse", n})
      assert :ok = Senza.unsubscribe(feed)
    end

    # Messages come in order: whatever was still to come came before this one's.
    {:ok, feed} = Senza.subscribe("watch%201/*")
    assert :ok = Senza.unsubscribe(feed)
    assert queue_of(self()) == 0
  end

  test "who subscribes while the node stops is told either way" do
    for _ <- 1..5 do
      ref = Senza.ref()
      askers = for _ <- 1..4, do: Task.async(fn -> subscribe_until_closed(ref, []) end)
      Process.sleep(Enum.random(1..10))
      stop_supervised!(Senza)
      Task.await_many(askers, 60_000)
      start_supervised!({Senza, node: "a"})
    end
  end

  defp subscribe_until_closed(ref, feeds) do
    case Senza.subscribe(ref, sensors: ["watch 1"]) do
      {:ok, feed} -> subscribe_until_closed(ref, [feed | feeds])
      {:error, %Senza.Error{reason: :closed}} -> for feed <- feeds, do: assert_receive({:senza, ^feed, :closed}, 60_000)
    end
  end

  test "the end of its process ends a subscription", %{watch: watch} do
    {pid, {:ok, _}} = stay(fn -> Senza.subscribe("watch%201/*") end)
    Senza.Sensor.declare(watch, ["pulse"])
    assert %{pace: :every, deadband: nil} = eventually(fn -> Senza.demand("watch 1") end)
    finish(pid)
    eventually(fn -> Senza.demand("watch 1") == nil end)
    assert {:error, %Senza.Error{reason: :noproc}} = Senza.subscribe("**", to: pid)
    assert_raise ArgumentError, ~r/to must be a pid/, fn -> Senza.subscribe("**", to: :x) end
  end

  test "a start is what there was, and then what comes", %{watch: watch} do
    for n <- 1..5, do: Senza.Sensor.put(watch, "pulse", n, time: n)
    {:ok, latest} = Senza.subscribe("watch%201/*", start: :latest)
    {:ok, last} = Senza.subscribe("watch%201/*", start: {:last, 3})
    {:ok, since} = Senza.subscribe("watch%201/*", start: {:since, 2})
    {:ok, live} = Senza.subscribe("watch%201/*")
    Senza.Sensor.put(watch, "pulse", 6, time: 6)
    values = fn feed, count -> for {:reading, _, _, value, _, _} <- items(feed, count), do: value end
    assert values.(latest, 2) == [5, 6]
    assert values.(last, 4) == [3, 4, 5, 6]
    assert values.(since, 5) == [2, 3, 4, 5, 6]
    assert values.(live, 1) == [6]
  end

  test "a start that is not the newest number says what comes next", %{watch: watch} do
    Senza.Sensor.put(watch, "pulse", 1, time: 9)
    Senza.Sensor.put(watch, "pulse", 2, time: 5)
    {:ok, feed} = Senza.subscribe("watch%201/*", start: :latest)
    assert items(feed, 2) == [{:reading, "watch 1", "pulse", 1, 9, 1}, {:live, "watch 1", "pulse", 2}]
  end

  test "contracts leave out what they say, but nothing that is lossless", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/*", deadband: 2)
    for n <- 1..6, do: Senza.Sensor.put(watch, "pulse", n)
    for n <- 1..6, do: Senza.Sensor.put(watch, "button", n)
    of = fn items, of -> for {:reading, _, ^of, value, _, _} <- items, do: value end
    items = items(feed, 8)
    assert {of.(items, "pulse"), of.(items, "button")} == {[1, 4], [1, 2, 3, 4, 5, 6]}
    assert %{filtered: 4} = Senza.ledger(feed)
  end

  test "ends are told", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/*")
    Senza.Sensor.put(watch, "pulse", 1)
    Senza.Sensor.leave(watch)
    assert [{:reading, _, _, 1, _, 1}, {:end, "watch 1", "pulse", 1, :unregistered}] = items(feed, 2)
  end

  test "maps of any size come in batches and in histories", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/*")

    for keys <- [0, 1, 31, 32, 33, 34, 100, 1_000, 4_000], _ <- 1..5 do
      map = for n <- 1..keys//1, into: %{}, do: {"key #{n}", n}
      {:ok, _} = Senza.Sensor.put(watch, "map", map)
      assert [{:reading, _, "map", ^map, _, _}] = items(feed, 1)
      assert {:ok, %{value: ^map}} = Senza.latest("watch 1", "map")
      assert {:ok, [%{value: ^map}]} = Senza.history("watch 1", "map", last: 1)
    end
  end

  test "filters change without a gap or a duplicate", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/a")
    Senza.Sensor.put(watch, "a", 1)
    assert :ok = Senza.change(feed, ["watch%201/a", [attributes: ["b"]]])
    Senza.Sensor.put(watch, "a", 2)
    Senza.Sensor.put(watch, "b", 3)
    assert [{_, _, "a", 1, _, 1}, {_, _, "a", 2, _, 2}, {_, _, "b", 3, _, 1}] = items(feed, 3)
    assert {:error, %Senza.Error{reason: :invalid_pattern}} = Senza.change(feed, "a//b")
    {:ok, events} = Senza.listen()
    assert_raise ArgumentError, ~r/not a subscription/, fn -> Senza.change(events, "**") end
    assert_raise ArgumentError, ~r/not a subscription/, fn -> Senza.ledger(events) end
  end

  test "a queue that overflows may close", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/*", overflow: :close, queue_max: 5, window: 1, batch_max: 1)
    for n <- 1..100, do: Senza.Sensor.put(watch, "pulse", n)
    drain = fn drain -> if Senza.next(feed, 60_000) == :closed, do: :closed, else: drain.(drain) end
    assert drain.(drain) == :closed
  end

  test "writers who can wait do", %{watch: watch} do
    {:ok, feed} = Senza.subscribe("watch%201/*", overflow: {:block, 60_000}, queue_max: 2, window: 1, batch_max: 2)
    writer = Task.async(fn -> for n <- 1..100, do: {:ok, ^n} = Senza.Sensor.put_wait(watch, "pulse", n) end)
    assert for({:reading, _, _, n, _, n} <- items(feed, 100), do: n) == Enum.to_list(1..100)
    Task.await(writer, 60_000)
  end

  test "contracts that are wrong name the field" do
    for {options, field} <- [
          {[max_rate: 1.0e9], "pace.interval"},
          {[max_rate: 1.0e-9], "max_rate"},
          {[deadband_percent: 200], "deadband.percent"},
          {[deadband: -1], "deadband.absolute"},
          {[queue_max: 0], "queue_max"},
          {[queue_max: 100_000_000], "queue_max"},
          {[heartbeat_ms: 100_000_000], "heartbeat_ms"},
          {[start: {:last, 0}], "start.last"},
          {[overflow: {:block, 0xFFFF_FFFF}], "overflow"}
        ] do
      assert {:error, %Senza.Error{reason: :invalid_contract, field: ^field}} = Senza.subscribe("**", options)
    end

    for {options, rule} <- [
          {[pace: :slow], ~r/pace = :slow: must be/},
          {[max_rate: 0], ~r/max_rate = 0: must be/},
          {[deadband: "x"], ~r/deadband/},
          {[overflow: :explode], ~r/overflow = :explode/},
          {[start: :never], ~r/start = :never/},
          {[start: {:since, "x"}], ~r/start = {:since, "x"}/},
          {[window: 0], ~r/window must be an integer from 1/},
          {[batch_max: 100_000], ~r/batch_max must be/},
          {[format: :xml], ~r/format must be one of/},
          {[colour: 1], ~r/unknown keys/}
        ] do
      assert_raise ArgumentError, rule, fn -> Senza.subscribe("**", options) end
    end

    assert_raise ArgumentError, ~r/a filter must be/, fn -> Senza.subscribe(Senza, 5) end
    assert {:error, %Senza.Error{reason: :full}} = Senza.subscribe(sensors: for(n <- 1..200_000, do: "s #{n}"))
    assert_raise ArgumentError, ~r/a feed must be/, fn -> Senza.ack(make_ref()) end
    assert_raise ArgumentError, ~r/a feed must be/, fn -> Senza.unsubscribe(:x) end
  end
end
