# Two nodes in one VM, over loopback.

defmodule Senza.ClusterTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.SensorRegistry

  setup :two_nodes

  # Waits until both agree on who owns a sensor.
  defp seen(id, node) do
    eventually(fn -> Enum.all?([:a, :b], &match?({:ok, {^node, _}}, Senza.owner(&1, id))) end)
  end

  test "a sensor of one node is found on the other" do
    :ok = SensorRegistry.register({:a, "s"}, self(), type: "watch")
    seen("s", "a")
    assert SensorRegistry.whereis({:a, "s"}) == {:ok, self()}
    assert SensorRegistry.whereis({:b, "s"}) == {:remote, "a"}
    assert SensorRegistry.whereis_name({:b, "s"}) == :undefined
    assert SensorRegistry.get_all_sensor_ids(:b) == ["s"]
    assert [%{sensor: "s", type: "watch", node: "a", local: false}] = Senza.sensors(:b)
    assert {:error, %Senza.Error{reason: :not_owner, sensor: "s", node: "a"}} = Senza.put(:b, "s", "v", 1)
    assert {:refused, [{0, %Senza.Error{reason: :not_owner}}]} = Senza.put_many(:b, [{"s", "v", 1}])
    assert [%{node: "b", local: true}, %{node: "a", sensors: 1}] = Senza.nodes(:b)
    assert Senza.name(:b) == "b"
  end

  test "its end is seen there, as an event" do
    {:ok, events} = Senza.listen(:b)
    {pid, :ok} = stay(fn -> SensorRegistry.register({:a, "s"}, self()) end)
    assert items(events, 1) == [{:sensor_registered, "s", "a"}]
    finish(pid)
    assert items(events, 1) == [{:sensor_unregistered, "s", "a"}]
    assert {:error, :not_found} = SensorRegistry.whereis({:b, "s"})
  end

  test "events in detail" do
    {:ok, feed} = Senza.listen(:b, format: :map, batch_max: 1)
    {:ok, sensor} = Senza.register(:a, "s", type: "watch")
    epoch = Senza.Sensor.epoch(sensor)
    registered = %{sensor: "s", type: "watch", node: "a", epoch: epoch}
    assert event(feed, &match?({:sensor_registered, _}, &1)) == {:sensor_registered, registered}

    {:ok, moved} = Senza.register(:b, "s", type: "polar")
    now = %{sensor: "s", type: "polar", node: "b", epoch: Senza.Sensor.epoch(moved)}
    assert event(feed, &match?({:sensor_moved, _}, &1)) == {:sensor_moved, Map.put(now, :previous, {"a", epoch})}
    # An older claim that still stands would be the owner's again.
    eventually(fn -> Enum.any?(Senza.nodes(:b), &match?(%{node: "a", sensors: 0}, &1)) end)
    true = Senza.Sensor.leave(moved)
    assert event(feed, &match?({:sensor_unregistered, _}, &1)) == {:sensor_unregistered, now}

    stop_supervised!(:a)
    assert {:node_down, %{node: "a", incarnation: life}} = event(feed, &match?({:node_down, _}, &1))
    start_supervised!({Senza, name: :a, node: "a", connect: Senza.listening(:b)})
    assert {:node_up, %{node: "a", incarnation: next}} = event(feed, &match?({:node_up, _}, &1))
    assert next > life

    assert_raise ArgumentError, ~r/format must be one of \[:tuple, :map\], got: :struct/, fn ->
      Senza.listen(:b, format: :struct)
    end
  end

  # The first event of a feed of one a batch that matches.
  defp event(feed, wanted?) do
    [event] = items(feed, 1)
    if wanted?.(event), do: event, else: event(feed, wanted?)
  end

  test "readings reach who asked for them, starts and history included" do
    {:ok, sensor} = Senza.register(:a, "s", [])
    for n <- 1..3, do: {:ok, ^n} = Senza.Sensor.put(sensor, "v", n)
    seen("s", "a")
    {:ok, feed} = Senza.subscribe(:b, "s/*", start: :latest)
    assert [{:reading, "s", "v", 3, _, 3}] = items(feed, 1)
    for n <- 4..1_003, do: {:ok, ^n} = Senza.Sensor.put(sensor, "v", n)
    assert for({:reading, "s", "v", n, _, n} <- items(feed, 1_000), do: n) == Enum.to_list(4..1_003)
    assert {:ok, [%Senza.Reading{value: 1_002, node: "a"}, _]} = Senza.history(:b, "s", "v", last: 2)
    assert {:error, :not_found} = Senza.latest(:b, "s", "v")
    assert %{pace: :every} = eventually(fn -> Senza.demand(:a, "s") end)
  end

  test "registering takes over, once or not at all" do
    {:ok, old} = Senza.register(:a, "s", [])
    {:ok, 1} = Senza.Sensor.put(old, "v", 1)
    seen("s", "a")
    {:ok, events} = Senza.listen(:a)
    assert {:error, %Senza.Error{reason: :not_owner, node: "a"}} = Senza.register(:b, "s", conflict: :refuse)
    {:ok, new} = Senza.register(:b, "s", [])
    seen("s", "b")
    assert items(events, 1) == [{:sensor_moved, "s", "b", "a"}]
    assert SensorRegistry.whereis({:a, "s"}) == {:remote, "b"}
    assert {:ok, 1} = Senza.Sensor.put(new, "v", 2)
    # Who owns it is known a moment before the copy here is dropped.
    refused = &match?({:error, %Senza.Error{reason: :not_owner, node: "b"}}, &1)
    eventually(fn -> refused.(Senza.Sensor.put(old, "v", 3)) end)
    # The loser's end is no end of the winner's.
    refute Senza.Sensor.leave(old)
    assert {:error, %Senza.Error{reason: :held_off, node: "b", left_ms: left}} = Senza.register(:a, "s", [])
    assert left in 1..5_000
    assert %Senza.Error{reason: :held_off} = catch_error(SensorRegistry.register_name({:a, "s"}, self()))
    {:ok, _} = Senza.register(:a, "s", conflict: :force)
    seen("s", "a")
  end

  test "how long readings took is told hop by hop, and by how much clocks differ" do
    assert for(%{readings: 0, max_us: 0} = hop <- Senza.latencies(:a), do: hop.hop) == [
             :source,
             :queue,
             :local,
             :remote
           ]

    {:ok, sensor} = Senza.register(:a, "s", [])
    {:ok, here} = Senza.subscribe(:a, "s/*")
    {:ok, there} = Senza.subscribe(:b, "s/*")
    :ok = Senza.Sensor.declare(sensor, ["v"])
    eventually(fn -> Enum.any?(Senza.latencies(:a), &(&1.hop == :owner)) end)
    second = 1_000_000
    for n <- 1..100, do: {:ok, ^n} = Senza.Sensor.put(sensor, "v", n, time: System.system_time(:microsecond) - second)
    for feed <- [here, there], do: items(feed, 100)

    # They are noted as they are taken, a moment before they are sent.
    hop = fn node, hop, of -> Enum.find(Senza.latencies(node), &match?(%{hop: ^hop, node: ^of, readings: 100}, &1)) end
    source = eventually(fn -> hop.(:a, :source, nil) end)
    assert source.p50_us in div(second * 99, 100)..source.p90_us
    assert source.p99_us in source.p90_us..source.p999_us
    assert source.p999_us <= source.max_us
    assert source.impossible == 0
    assert eventually(fn -> hop.(:a, :local, nil) end).max_us < 60 * second
    assert eventually(fn -> hop.(:b, :queue, nil) end)
    remote = eventually(fn -> Enum.find(Senza.latencies(:b), &(&1.hop == :remote and &1.readings > 0)) end)
    assert remote.readings + remote.impossible == 100
    assert eventually(fn -> Enum.find(Senza.latencies(:a), &match?(%{hop: :owner, node: "b", readings: 100}, &1)) end)
    link = eventually(fn -> Enum.find(Senza.latencies(:b), &match?(%{hop: :link, node: "a"}, &1)) end)
    assert link.readings + link.impossible == 100

    assert %{"b" => %{offset_us: offset, error_us: error}} = eventually(fn -> clocks_of_others(:a) end)
    # The same clock, of course.
    assert abs(offset) <= error + 1_000
    assert %{"a" => _} = eventually(fn -> clocks_of_others(:b) end)
    ref = Senza.ref(:a)
    stop_supervised!(:a)
    assert {:error, %Senza.Error{reason: :closed}} = Senza.latencies(ref)
    assert {:error, %Senza.Error{reason: :closed}} = Senza.clocks(ref)
  end

  defp clocks_of_others(node) do
    clocks = Senza.clocks(node)
    if clocks != %{}, do: clocks
  end

  test "a node that leaves is down, and comes back with its sensors" do
    :ok = SensorRegistry.register({:a, "s"}, self())
    seen("s", "a")
    {:ok, events} = Senza.listen(:b)
    assert :cluster = Senza.switch(:a, :local)
    assert Senza.mode(:a) == :local
    eventually(fn -> SensorRegistry.whereis({:b, "s"}) == {:error, :not_found} end)
    assert SensorRegistry.whereis({:a, "s"}) == {:ok, self()}
    assert :local = Senza.switch(:a, :cluster)
    eventually(fn -> SensorRegistry.whereis({:b, "s"}) == {:remote, "a"} end)
    told = told(events, {:sensor_registered, "s", "a"}, [])
    assert {:node_down, "a"} in told
    assert {:node_up, "a"} in told
    assert_raise FunctionClauseError, fn -> Senza.switch(:a, :shadow) end
    assert_raise ArgumentError, ~r/no node of senza named :c/, fn -> Senza.switch(:c, :local) end
  end

  # Events up to one.
  defp told(feed, last, before) do
    events = items(feed, 1)
    if last in events, do: before ++ events, else: told(feed, last, before ++ events)
  end

  test "a node that is stopped is gone from the others" do
    :ok = SensorRegistry.register({:a, "s"}, self())
    seen("s", "a")
    ref = Senza.ref(:a)
    stop_supervised!(:a)
    eventually(fn -> match?([%{node: "b"}], Senza.nodes(:b)) end)
    assert {:error, %Senza.Error{reason: :closed}} = Senza.heals(ref)
    assert SensorRegistry.whereis({:b, "s"}) == {:error, :not_found}
    assert {:error, %Senza.Error{reason: :not_found}} = Senza.history(:b, "s", "v")
    assert Senza.heals(:b) == []
  end

  test "an owner that does not answer is told" do
    :ok = SensorRegistry.register({:a, "s"}, self())
    seen("s", "a")
    # Of many questions some are not answered at once; no late answer stays in the mailbox.
    answers = for _ <- 1..100, do: Senza.history(:b, "s", "v", timeout: 0)
    assert Enum.any?(answers, &match?({:error, %Senza.Error{reason: :timeout, sensor: "s"}}, &1))
    refute_received {:senza, _, _}
  end
end
