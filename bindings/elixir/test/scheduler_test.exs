# No function of the compiled part holds a normal scheduler for longer than a millisecond. The VM itself tells who does.

defmodule Senza.SchedulerTest do
  use ExUnit.Case
  import Senza.Helpers

  # A millisecond is the rule; a process that the system does not let run looks the same, so that it is tried again.
  @limit_ms 1
  @tries 10

  setup do
    start_supervised!({Senza, node: "a", history_max: 2_000})
    # What is put is relayed too.
    start_supervised!({Senza, name: :b, node: "b", connect: Senza.listening()})
    :ok
  end

  test "none is held" do
    for n <- 1..20_000, do: :ok = Senza.SensorRegistry.register("s #{n}", self())
    {:ok, _} = Senza.register("big")
    many = for n <- 1..20_000, do: {"s #{n}", "v", n * 1.0}
    few = Enum.take(many, 256)
    text = String.duplicate("x", 60_000)
    texts = for _ <- 1..100, do: {"big", "text", text}
    json = Map.new(1..2_000, &{"key #{&1}", &1})
    crowd = fn -> for n <- 1..200, do: spawn_monitor(fn -> Senza.SensorRegistry.register("c #{n}", self()) end) end

    {:ok, far} = Senza.subscribe(:b, [attributes: ["v", "far"]], window: 8)
    {:ok, sensor} = Senza.register("far")
    :ok = Senza.Sensor.declare(sensor, ["far"])
    eventually(fn -> Senza.demand("far") end)

    for {what, work} <- [
          put_far: fn -> for n <- 1..100, do: Senza.Sensor.put(sensor, "far", n) end,
          put_many: fn -> Senza.put_many(many) end,
          put_few: fn -> Senza.put_many(few) end,
          put_texts: fn -> Senza.put_many(texts) end,
          put_json: fn -> Senza.put("big", "json", json) end,
          latest_json: fn -> Senza.latest("big", "json") end,
          history: fn -> Senza.history("big", "text", last: 2_000) end,
          whereis: fn -> for n <- 1..1_000, do: Senza.SensorRegistry.whereis("s #{n}") end,
          ids: fn -> Senza.SensorRegistry.get_all_sensor_ids() end,
          page: fn -> Senza.sensors(Senza, "s%20$*/**") end,
          subscribe: fn -> "**" |> Senza.subscribe(start: :latest) |> elem(1) |> Senza.unsubscribe() end,
          nodes: fn -> Senza.nodes() end,
          register: fn -> for n <- 1..500, do: Senza.SensorRegistry.register("r #{n}", self()) end,
          unregister: fn -> for n <- 1..500, do: Senza.SensorRegistry.unregister("r #{n}") end,
          death: fn -> for {_, monitor} <- crowd.(), do: receive(do: ({:DOWN, ^monitor, _, _, _} -> :ok)) end
        ] do
      Senza.ack(far, 8)
      # A process that ends is in no function.
      ours = if what == :death, do: [:undefined], else: []
      assert Enum.any?(1..@tries, fn _ -> held(work, ours) == [] end), "#{what}: #{inspect(held(work, ours))}"
    end
  end

  test "one that was held would be seen" do
    if Senza.Native.misbehaves() do
      assert Enum.any?(1..@tries, fn _ -> held(fn -> Senza.Native.hold(5) end) != [] end)
    else
      IO.puts("SKIPPED: the compiled part was built without the function that holds a scheduler")
    end
  end

  # The long runs of functions of ours while something is done.
  defp held(work, ours \\ []) do
    :erlang.system_monitor(self(), [{:long_schedule, @limit_ms}])
    # What a run was is told when it is over: whoever waits for a time was not running in between.
    fn -> {work.(), Process.sleep(1)} end |> Task.async() |> Task.await(:infinity)
    :erlang.system_monitor(:undefined)
    for {ms, mfa} <- told(), mfa in ours or match?({Senza.Native, _, _}, mfa), do: {ms, mfa}
  end

  defp told do
    receive do
      {:monitor, pid, :long_schedule, info} when is_pid(pid) ->
        [{info[:timeout], info[:out]}, {info[:timeout], info[:in]} | told()]

      {:monitor, _, :long_schedule, _} ->
        told()
    after
      # What the VM tells may be on its way still.
      5 -> []
    end
  end
end
