# No function of the compiled part holds a normal scheduler for longer than a millisecond. The VM itself tells who does.

defmodule Senza.SchedulerTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.{Native, SensorRegistry}

  # A millisecond is the rule; a process that the system does not let run looks the same, so that it is tried again.
  @limit_ms 1
  @tries 20

  setup do
    start_supervised!({Senza, node: "a", history_max: 2_000})
    # What is put is relayed too.
    start_supervised!({Senza, name: :b, node: "b", connect: Senza.listening()})
    :ok
  end

  test "none is held" do
    for n <- 1..20_000, do: :ok = SensorRegistry.register("s #{n}", self())
    {:ok, sensor} = Senza.register("far")
    :ok = Senza.Sensor.declare(sensor, ["far", "text", "json"])
    {:ok, _} = Senza.subscribe(:b, [attributes: ["v", "far"]], window: 1)
    eventually(fn -> Senza.demand("far") end)

    many = for n <- 1..20_000, do: {"s #{n}", "v", n * 1.0}
    few = Enum.take(many, 256)
    text = String.duplicate("x", 60_000)
    texts = for _ <- 1..100, do: {"far", "text", text}
    json = Map.new(1..2_000, &{"key #{&1}", &1})
    all = {[], ["**"], [], [], []}
    ref = Senza.ref()
    # What nobody means is refused as quickly. It lies where no process copies and collects it.
    long = List.duplicate(1.0, 300_000)
    odd = [long, List.to_tuple(long), {:bytes, long}, String.duplicate("x", 10_000_000), Integer.pow(2, 300_000)]
    :persistent_term.put(__MODULE__, {[long, {:vector, long}], odd})
    long = fn -> elem(:persistent_term.get(__MODULE__), 0) end
    odd = fn -> elem(:persistent_term.get(__MODULE__), 1) end
    meta = %{"text" => String.duplicate("x", 60_000)}

    for {what, call} <- [
          put: fn -> Senza.put("s 1", "v", 1.5) end,
          put_far: fn -> Senza.Sensor.put(sensor, "far", 1) end,
          put_few: fn -> Senza.put_many(few) end,
          put_many: fn -> Senza.put_many(many) end,
          put_text: fn -> Senza.put("far", "text", text) end,
          put_texts: fn -> Senza.put_many(texts) end,
          put_json: fn -> Senza.put("far", "json", json) end,
          latest: fn -> Senza.latest("far", "text") end,
          latest_json: fn -> Senza.latest("far", "json") end,
          ask: fn -> Native.ask(ref, "far", "text", {0, 0x7FFF_FFFF_FFFF_FFFF, 256}, self()) end,
          ask_much: fn -> Native.ask_much(ref, "far", "text", {0, 0x7FFF_FFFF_FFFF_FFFF, 2_000}, self()) end,
          whereis: fn -> SensorRegistry.whereis("s 20000") end,
          ids: fn -> Native.ids(ref, nil, 1_000) end,
          page: fn -> Native.page(ref, nil, all, 1_000) end,
          subscribe: fn -> "**" |> Senza.subscribe(start: :latest) |> elem(1) |> Native.close() end,
          listen: fn -> Senza.listen() |> elem(1) |> Native.close() end,
          demand: fn -> Senza.demand("far") end,
          follow_demand: fn -> sensor |> Senza.Sensor.follow_demand() |> elem(1) |> Native.close() end,
          nodes: fn -> Senza.nodes() end,
          heals: fn -> Senza.heals() end,
          latencies: fn -> Senza.latencies() end,
          clocks: fn -> Senza.clocks() end,
          put_long: fn -> for value <- long.(), do: Senza.put("far", "json", value) end,
          put_odd: fn -> for odd <- odd.(), do: Native.put(ref, odd, "v", 1, nil) end,
          put_few_odd: fn -> for odd <- odd.(), do: Native.put_few(ref, [odd]) end,
          declare: fn -> Senza.Sensor.declare(sensor, for(n <- 1..10_000, do: "#{n}")) end,
          history_to: fn -> Senza.history("far", "text", to: 0) end,
          register_meta: fn -> SensorRegistry.register("m", self(), meta: meta) end,
          register: fn -> SensorRegistry.register("r #{System.unique_integer()}", self()) end,
          unregister: fn -> SensorRegistry.unregister("s #{Enum.random(1..20_000)}") end
        ] do
      assert Enum.any?(1..@tries, fn _ -> held(call) == [] end),
             "#{what} held a scheduler for ms: #{inspect(held(call), charlists: :as_lists)}"
    end
  end

  test "nor by the end of a process of many sensors" do
    end_of = fn count ->
      {pid, _} = stay(fn -> for n <- 1..count, do: :ok = SensorRegistry.register("#{count}/#{n}", self()) end)
      watched(fn -> finish(pid) end, fn told -> elem(told, 0) == pid end)
    end

    assert Enum.any?(1..@tries, fn _ -> end_of.(64) == [] end)
    assert Enum.any?(1..@tries, fn _ -> end_of.(20_000) == [] end)
  end

  test "nor by the last handle of a stopped node" do
    let_go = fn ->
      start_supervised!({Senza, name: :c, node: "c"})
      {holder, _} = stay(fn -> Process.put(:held, elem(Senza.register(:c, "held", []), 1)) end)
      # By a process that ends: nothing of the node is left with it.
      Task.await(Task.async(fn -> fill(:c, holder) end), 60_000)
      stop_supervised!(:c)
      # What its name stood for lies with the VM for a while, and may with others.
      Process.sleep(300)
      for pid <- Process.list(), pid != holder, do: :erlang.garbage_collect(pid)
      # The VM watches no process that ends, but it is not gone before what it held is.
      elem(:timer.tc(fn -> finish(holder) end), 0)
    end

    assert Enum.any?(1..5, fn _ -> let_go.() < @limit_ms * 1_000 end)
  end

  defp fill(node, pid) do
    ids = for n <- 1..50_000, do: "#{String.duplicate("s", 50)} #{n}"
    for id <- ids, do: :ok = SensorRegistry.register({node, id}, pid)
    :ok = Senza.put_many(node, for(id <- ids, do: {id, "text", String.duplicate("x", 50)}))
  end

  @tag :capture_log
  test "nor by what is logged" do
    if Native.misbehaves() do
      start_supervised!({Senza.Log, level: :warning})
      assert Enum.any?(1..@tries, fn _ -> held(fn -> Native.log_some(20, "text") end) == [] end)
    else
      IO.puts("SKIPPED: the compiled part was built without the function that logs")
    end
  end

  test "one that was held would be seen" do
    if Native.misbehaves() do
      assert Enum.any?(1..@tries, fn _ -> held(fn -> Native.hold(5) end) != [] end)
    else
      IO.puts("SKIPPED: the compiled part was built without the function that holds a scheduler")
    end
  end

  # How long a call held its scheduler, where it was too long.
  defp held(call) do
    work = fn -> fn -> for(_ <- 1..5, do: alone(call)) end |> Task.async() |> Task.await(:infinity) end
    watched(work, fn {_, into} -> into == {__MODULE__, :alone, 1} end)
  end

  # A run of its own for a call: the VM names a run by where it began.
  def alone(call) do
    :erlang.yield()
    result = call.()
    :erlang.yield()
    result
  end

  defp watched(work, ours?) do
    :erlang.system_monitor(self(), [{:long_schedule, @limit_ms}])
    work.()
    # What the VM tells may be on its way still.
    Process.sleep(2)
    :erlang.system_monitor(:undefined)
    for {pid, into, ms} <- told(), ours?.({pid, into}), do: ms
  end

  defp told do
    receive do
      {:monitor, pid, :long_schedule, info} -> [{pid, info[:in], info[:timeout]} | told()]
    after
      0 -> []
    end
  end
end
