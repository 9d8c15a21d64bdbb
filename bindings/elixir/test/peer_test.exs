# Two real VMs, each with a node of its own: what the people who run a cluster do. They are not connected by the
# distribution of Erlang: senza alone is between them.

defmodule Senza.PeerTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.SensorRegistry

  @limit_ms 60_000

  setup do
    start_supervised!({Senza, node: "here"})
    {:ok, peer, _} = :peer.start_link(%{connection: :standard_io, args: paths(), wait_boot: @limit_ms})
    call = fn module, function, arguments -> :peer.call(peer, module, function, arguments, @limit_ms) end
    {:ok, _} = call.(:application, :ensure_all_started, [:elixir])
    # The code of the tests is compiled in memory.
    {module, binary, file} = :persistent_term.get(Senza.PeerTest.There)
    {:module, _} = call.(:code, :load_binary, [module, file, binary])
    {:ok, _} = call.(Senza.PeerTest.There, :start, [Senza.listening()])
    {:ok, peer: peer, call: call}
  end

  defp paths, do: Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

  test "sensors, readings and events cross", %{peer: peer, call: call} do
    {:ok, events} = Senza.listen()
    :ok = call.(Senza.PeerTest.There, :register, ["far 1"])
    assert items(events, 1) == [{:sensor_registered, "far 1", "there"}]
    assert SensorRegistry.whereis("far 1") == {:remote, "there"}

    :ok = SensorRegistry.register("near 1", self())
    eventually(fn -> call.(SensorRegistry, :whereis, ["near 1"]) == {:remote, "here"} end)

    {:ok, feed} = Senza.subscribe("far%201/*")
    eventually(fn -> call.(Senza, :demand, ["far 1"]) != nil end)
    :ok = call.(Senza.PeerTest.There, :put, ["far 1", 10_000])
    assert for({:reading, "far 1", "v", n, _, n} <- items(feed, 10_000), do: n) == Enum.to_list(1..10_000)
    assert {:ok, [%Senza.Reading{value: 10_000, node: "there"}]} = Senza.history("far 1", "v", last: 1)

    # The process over there ends: its sensor is gone here.
    :ok = call.(Senza.PeerTest.There, :finish, ["far 1"])
    assert {:sensor_unregistered, "far 1", "there"} in items(events, 2)
    assert SensorRegistry.whereis("far 1") == {:error, :not_found}

    # The whole VM ends, as a crash would end it.
    :ok = call.(Senza.PeerTest.There, :register, ["far 2"])
    eventually(fn -> SensorRegistry.whereis("far 2") == {:remote, "there"} end)
    process = call.(:os, :getpid, [])
    Process.unlink(peer)
    {_, 0} = System.cmd("kill", ["-KILL", "#{process}"])
    eventually(fn -> match?([%{node: "here"}], Senza.nodes()) end)
    assert SensorRegistry.whereis("far 2") == {:error, :not_found}
  end
end

{:module, module, binary, _} =
  defmodule Senza.PeerTest.There do
    # What the other VM does.

    def start(connect) do
      # Linked to a process that stays.
      me = self()

      spawn(fn ->
        send(me, Senza.start_link(node: "there", connect: connect))
        Process.sleep(:infinity)
      end)

      receive do: (started -> started)
    end

    def register(id) do
      me = self()

      spawn(fn ->
        {:ok, sensor} = Senza.register(id)
        send(me, Senza.Sensor.declare(sensor, ["v"]))
        receive do: (:finish -> :ok)
      end)

      receive do: (registered -> registered)
    end

    def put(id, count), do: Senza.put_many(for n <- 1..count, do: {id, "v", n})

    def finish(id) do
      Senza.SensorRegistry.send(id, :finish)
      :ok
    end
  end

:persistent_term.put(Senza.PeerTest.There, {module, binary, 'peer_test.exs'})
