# The registry on one node: registrations, their ends with their processes, `:via`.

defmodule Senza.RegistryTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.SensorRegistry

  setup do
    start_supervised!({Senza, node: "a"})
    :ok
  end

  test "a sensor is found while it is registered" do
    assert {:error, :not_found} = SensorRegistry.whereis("s")
    assert :ok = SensorRegistry.register("s", self())
    assert :ok = SensorRegistry.register("s", self())
    assert SensorRegistry.whereis("s") == {:ok, self()}
    assert {:ok, {"a", epoch}} = Senza.owner("s")
    assert is_integer(epoch)
    assert SensorRegistry.get_all_sensor_ids() == ["s"]
    assert [%{sensor: "s", type: "generic", node: "a", epoch: ^epoch, local: true}] = Senza.sensors()
    assert :ok = SensorRegistry.unregister("s")
    assert :ok = SensorRegistry.unregister("s")
    assert {:error, :not_found} = SensorRegistry.whereis("s")
    assert SensorRegistry.get_all_sensor_ids() == []
  end

  test "the end of a process ends its registrations, however many" do
    for count <- [1, 2, 64, 65, 1_000] do
      ids = for n <- 1..count, do: "#{count}/#{n}"
      {pid, _} = stay(fn -> for id <- ids, do: :ok = SensorRegistry.register(id, self()) end)
      assert length(SensorRegistry.get_all_sensor_ids()) == count
      finish(pid)
      eventually(fn -> SensorRegistry.get_all_sensor_ids() == [] end)
      assert {:error, :not_found} = SensorRegistry.whereis(hd(ids))
    end
  end

  test "many processes end at once" do
    count = 10_000
    pids = for n <- 1..count, do: elem(stay(fn -> SensorRegistry.register("s #{n}", self()) end), 0)
    assert length(SensorRegistry.get_all_sensor_ids()) == count
    Enum.each(pids, &Process.exit(&1, :kill))
    eventually(fn -> SensorRegistry.get_all_sensor_ids() == [] end)
  end

  test "a name that another process has is taken, until that ends" do
    {pid, :ok} = stay(fn -> SensorRegistry.register("s", self()) end)
    assert {:error, {:already_registered, ^pid}} = SensorRegistry.register("s", self())
    assert {:error, {:already_registered, ^pid}} = Senza.register("s")
    finish(pid)
    # At once: that its end may not be heard yet is nobody's concern.
    assert :ok = SensorRegistry.register("s", self())
    assert {:ok, 1} = Senza.put("s", "v", 1)
    assert SensorRegistry.whereis("s") == {:ok, self()}
  end

  test "a process that takes a name over in a hurry keeps it" do
    for _ <- 1..300 do
      {pid, :ok} = stay(fn -> SensorRegistry.register("s", self()) end)
      Process.exit(pid, :kill)
      heir = spawn(fn -> receive do: (:end -> :ok) end)
      eventually(fn -> SensorRegistry.register("s", heir) == :ok end)
      assert SensorRegistry.whereis("s") == {:ok, heir}
      assert {:ok, _} = Senza.put("s", "v", 1)
      SensorRegistry.unregister("s")
      finish(heir)
      assert {:error, :not_found} = SensorRegistry.whereis("s")
    end
  end

  test "registering for a process that is gone says so" do
    {pid, _} = stay()
    finish(pid)
    assert {:error, :noproc} = SensorRegistry.register("s", pid)
    assert {:error, :not_found} = SensorRegistry.whereis("s")
    assert_raise ArgumentError, ~r/a pid must be of a process of this VM/, fn -> SensorRegistry.register("s", :x) end
    assert_raise ArgumentError, ~r/conflict must be/, fn -> SensorRegistry.register("s", self(), conflict: :x) end
    assert_raise ArgumentError, fn -> SensorRegistry.register("s", self(), colour: :x) end
  end

  test "a handle ends what it registered, and nothing newer" do
    {:ok, old} = Senza.register("s")
    assert :ok = SensorRegistry.unregister("s")
    {:ok, new} = Senza.register("s")
    refute Senza.Sensor.leave(old)
    assert SensorRegistry.whereis("s") == {:ok, self()}
    assert Senza.Sensor.leave(new)
  end

  test "it is a registry for :via" do
    name = {:via, SensorRegistry, "agent"}
    assert GenServer.whereis(name) == nil
    {:ok, agent} = Agent.start(fn -> 1 end, name: name)
    assert GenServer.whereis(name) == agent
    assert Agent.get(name, & &1) == 1
    assert {:error, {:already_started, ^agent}} = Agent.start(fn -> 2 end, name: name)
    assert {:ok, _} = Senza.put("agent", "v", 1)
    :ok = SensorRegistry.register("me", self())
    assert :hello = SensorRegistry.send("me", :hello)
    assert_received :hello
    assert :ok = Agent.stop(name)
    eventually(fn -> SensorRegistry.whereis_name("agent") == :undefined end)
    assert catch_error(SensorRegistry.send("agent", :hello)) == :badarg
    assert catch_exit(Agent.get(name, & &1))
    # On a node of another name.
    {:ok, agent} = Agent.start_link(fn -> 1 end, name: {:via, SensorRegistry, {Senza, "other"}})
    assert SensorRegistry.whereis({Senza, "other"}) == {:ok, agent}
  end

  @tag :capture_log
  test "a name that cannot be had is no name that is taken" do
    long = {:via, SensorRegistry, String.duplicate("x", 257)}
    assert {:error, {%Senza.Error{reason: :invalid_id}, _}} = Agent.start(fn -> 1 end, name: long)
    {pid, :ok} = stay(fn -> SensorRegistry.register("s", self()) end)
    assert :no = SensorRegistry.register_name("s", self())
    finish(pid)
    assert :no = SensorRegistry.register_name("t", pid)
    assert :yes = SensorRegistry.register_name("s", self())
  end

  @tag :capture_log
  test "a supervisor restarts at once what it knows by a name" do
    for count <- [1, 64, 1_000] do
      name = {:via, SensorRegistry, "child"}
      ids = for n <- 2..count//1, do: "#{count}/#{n}"
      # It registers in its start, so that every restart takes all names over from the dead one.
      first = fn -> for id <- ids, do: :ok = SensorRegistry.register(id, self()) end
      child = %{id: :child, start: {__MODULE__, :start_child, [self(), first, name]}}
      {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one, max_restarts: 1_000)

      for _ <- 1..100 do
        dead = GenServer.whereis(name)
        finish(dead)
        refute GenServer.whereis(name) == dead
        heir = eventually(fn -> child_of(supervisor, dead) end)
        assert SensorRegistry.whereis("child") == {:ok, heir}
        for id <- ids, do: assert(SensorRegistry.whereis(id) == {:ok, heir})
      end

      refute_received {:not_started, _}
      :ok = Supervisor.stop(supervisor)
      assert SensorRegistry.whereis("child") == {:error, :not_found}
      eventually(fn -> SensorRegistry.get_all_sensor_ids() == [] end)
    end
  end

  def start_child(test, first, name) do
    with {:error, reason} <- Agent.start_link(first, name: name) do
      send(test, {:not_started, reason})
      {:error, reason}
    end
  end

  defp child_of(supervisor, dead) do
    [{:child, pid, :worker, _}] = Supervisor.which_children(supervisor)
    if is_pid(pid) and pid != dead, do: pid
  end

  test "listings come page by page" do
    for n <- 1..2_500, do: :ok = SensorRegistry.register("s #{n}", self(), type: if(rem(n, 2) == 0, do: "even"))
    assert length(Senza.sensors()) == 2_500
    assert Senza |> Senza.stream([], 7) |> Enum.uniq_by(& &1.sensor) |> length() == 2_500
    assert Senza |> Senza.stream("s%20$*/**") |> Enum.take(3) |> length() == 3
    assert length(Senza.sensors(Senza, types: "even")) == 1_250
    assert [%{sensor: "s 7"}] = Senza.sensors(Senza, sensors: ["s 7"])
    assert_raise Senza.Error, fn -> Senza.sensors(Senza, "a//b") end
    assert_raise ArgumentError, ~r/a filter must be/, fn -> Senza.sensors(Senza, colour: "x") end
  end

  test "a node that is killed is started anew, and its name is free" do
    ref = Senza.ref()
    :ok = SensorRegistry.register("s", self())
    Process.exit(Process.whereis(Senza), :kill)
    eventually(fn -> Process.whereis(Senza) != nil and Senza.ref() != ref end)
    assert {:error, %Senza.Error{reason: :closed}} = Senza.put(ref, "s", "v", 1)
    assert {:error, :not_found} = SensorRegistry.whereis("s")
    assert :ok = SensorRegistry.register("s", self())
  end

  test "options that are wrong name themselves" do
    for {options, rule} <- [
          {[colour: 1], ~r/unknown option :colour/},
          {[node: :a], ~r/option :node must be a string, got: :a/},
          {[listen: [1]], ~r/option :listen must be a string or a list/},
          {[sensors_max: -1], ~r/option :sensors_max must be an integer/},
          {[mode: :dark], ~r/option :mode must be/},
          {[mode: :shadow], ~r/mode: :shadow needs/}
        ] do
      assert_raise ArgumentError, rule, fn -> Senza.start_link(options) end
    end

    Process.flag(:trap_exit, true)

    for {options, reason} <- [
          {[node: "A b"], :invalid_config},
          {[node: "c", listen: "tcp/nowhere"], :invalid_config},
          {[node: "c", silence_ms: 1], :invalid_config},
          {[node: "c", lossless: [""]], :invalid_id},
          {[node: "c", listen: "tcp/127.0.0.1:0", zenoh: [{"no/such/path", "1"}]], :start_failed},
          {[node: "a", connect: Senza.listening()], :name_taken}
        ] do
      assert {:error, %Senza.Error{reason: ^reason}} = Senza.start_link([name: :wrong] ++ options)
    end
  end
end
