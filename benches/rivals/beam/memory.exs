# What a sensor and a reading that is kept cost in memory. `kind=row` is an ETS row of the latest reading, found by the
# id; further readings, where `history` keeps some, are rows by the sensor's number and a place of a ring.
# `kind=process` is what a supervised design has: a process that holds the latest, found by a `Registry` and by `:pg`;
# it has no history.
#
# Counted is the anonymous memory of this process that is in RAM, before and after, as for the other contenders, each
# time after a collection of everything.
#
# What it does not do that senza does: no type, epoch, meta and attributes of a sensor, no number of a reading, no
# watchers; a row has no owner.
# What it does that senza does not: a value is any term; a process can be sent any message, and runs.

defmodule Memory do
  @registry Memory.Sensors
  @scope :sensors
  # As in discovery.exs, where it is said why.
  @partitions 16
  @looked_at 1_000

  # `readings` 0: as many as `history` keeps.
  def params, do: [what: [:sensor], kind: [:row, :process], sensors: 100_000, history: 16, readings: 1]

  def run(%{kind: kind, sensors: sensors, history: history} = params) do
    readings = if params.readings == 0, do: history, else: params.readings
    if kind == :process and readings > 1, do: raise("a process keeps the latest reading alone")
    holder = prepare(kind)
    before = memory()
    all_sensors(holder, sensors, fn number -> first(holder, number) end)
    first = memory()

    for reading <- 1..(readings - 1)//1 do
      all_sensors(holder, sensors, fn number -> next(holder, number, reading, history) end)
    end

    all = memory()
    looked_at = look_at(holder, sensors, readings, history)
    older = min(readings, history) - 1
    samples = if older > 0, do: [bytes_per_sample: per(first, all, sensors * older)], else: []

    {[bytes_per_sensor: per(before, all, sensors)] ++ samples,
     %{offered: looked_at * readings, arrived: looked_at * readings, told: 0, lost: 0},
     configuration: %{kind: kind, account: "the sensors looked at in the end"}}
  end

  defp per(before, after_all, count), do: max(after_all - before, 0) / count

  defp memory do
    BeamNode.collect()
    BeamNode.anonymous()
  end

  # In a process that ends, so that what it leaves is not counted.
  defp all_sensors(holder, sensors, make) do
    {pid, monitor} =
      spawn_monitor(fn ->
        for number <- 0..(sensors - 1), do: make.(number)
        settle(holder, sensors)
      end)

    receive do: ({:DOWN, ^monitor, _, ^pid, :normal} -> :ok)
  end

  # === rows ===

  defp prepare(:row), do: {:ets.new(:latest, [:set, :public]), :ets.new(:older, [:set, :public])}

  # === a process per sensor ===

  defp prepare(:process) do
    {:ok, _} = Registry.start_link(keys: :unique, name: @registry, partitions: @partitions)
    {:ok, _} = :pg.start_link(@scope)
    :process
  end

  defp first({latest, _}, number), do: :ets.insert(latest, {BeamNode.id(number), 0.0, 1})

  defp first(:process, number) do
    me = self()

    spawn(fn ->
      id = BeamNode.id(number)
      {:ok, _} = Registry.register(@registry, id, nil)
      :ok = :pg.join(@scope, id, self())
      send(me, :entered)
      # A process that waits for long costs the least like this.
      :erlang.hibernate(__MODULE__, :wait, [id, 0.0, 1])
    end)
  end

  def wait(id, value, time) do
    receive do
      {:latest, from} -> send(from, {id, value, time})
      {:put, value, time} -> :erlang.hibernate(__MODULE__, :wait, [id, value, time])
    end

    :erlang.hibernate(__MODULE__, :wait, [id, value, time])
  end

  defp settle(:process, sensors), do: for(_ <- 1..sensors, do: receive(do: (:entered -> :ok)))
  defp settle(_, _), do: :ok

  # The latest goes to its place of the ring before it is replaced.
  defp next({latest, older}, number, reading, history) do
    id = BeamNode.id(number)
    [{_, value, time}] = :ets.lookup(latest, id)
    if history > 1, do: :ets.insert(older, {place(number, reading - 1, history), value, time})
    :ets.insert(latest, {id, reading * 1.0, reading * 1_000_000})
  end

  # A small number is a key that costs nothing beside its row.
  defp place(number, reading, history), do: number * (history - 1) + rem(reading, history - 1)

  defp look_at(holder, sensors, readings, history) do
    every = div(sensors + @looked_at - 1, @looked_at)

    for number <- 0..(sensors - 1)//every do
      # What is kept, and the newest.
      {^number, newest, kept} = kept(holder, number, readings, history)
      true = newest == readings - 1.0 and kept == min(readings, history)
    end
    |> length()
  end

  defp kept({latest, older}, number, readings, history) do
    [{_, newest, _}] = :ets.lookup(latest, BeamNode.id(number))
    recent = max(readings - history, 0)..(readings - 2)//1
    kept = Enum.count(recent, &match?([{_, value, _}] when value == &1, :ets.lookup(older, place(number, &1, history))))
    {number, newest, kept + 1}
  end

  defp kept(:process, number, _, _) do
    id = BeamNode.id(number)
    [{pid, _}] = Registry.lookup(@registry, id)
    [^pid] = :pg.get_members(@scope, id)
    send(pid, {:latest, self()})
    receive do: ({^id, newest, _} -> {number, newest, 1})
  end
end
