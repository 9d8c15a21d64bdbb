# The two nodes of `run`, which says what is compared. `look-on <sensors>` measures and prints; `own <node>` owns sensors
# at the other's word. Owners come in two kinds, since both are done: one process for all sensors of a connection, which
# is the cheapest, and one process per sensor, which is what a supervised design has.

defmodule Rival do
  @scope :sensors
  @look_ups 1_000_000

  # === the owner's side, called from the other node ===

  def own(looker) do
    serve()
    true = Node.connect(looker)
    Node.monitor(looker, true)

    receive do
      {:nodedown, ^looker} -> System.halt(0)
    end
  end

  # Registers all from one caller; answers the seconds that took.
  def register(count, kind) do
    ids = ids(count)
    begin = now()
    me = self()

    case kind do
      :one_owner ->
        spawn(fn ->
          Enum.each(ids, &join/1)
          send(me, :registered)
          Process.sleep(:infinity)
        end)

        receive do: (:registered -> :ok)

      :process_per_sensor ->
        Enum.each(ids, fn id ->
          spawn(fn ->
            join(id)
            send(me, :registered)
            Process.sleep(:infinity)
          end)
        end)

        Enum.each(ids, fn _ -> receive do: (:registered -> :ok) end)
    end

    seconds(begin)
  end

  def local_look_ups(count) do
    per_second(count, fn id -> [{_pid, _}] = Registry.lookup(Rival.Local, id) end)
  end

  defp join(id) do
    {:ok, _} = Registry.register(Rival.Local, id, nil)
    :ok = :pg.join(@scope, id, self())
  end

  # === the side that looks on ===

  def look_on(count) do
    serve()
    rows = Enum.map([:one_owner, :process_per_sensor], &{&1, measure(count, &1)})
    rows = Enum.map_join(rows, ",", fn {kind, row} -> "\"#{kind}\":{#{row}}" end)
    versions = "\"elixir\":\"#{System.version()}\",\"otp\":\"#{System.otp_release()}\""
    IO.puts("{\"sensors\":#{count},#{versions},#{rows}}")
  end

  defp measure(count, kind) do
    {owner, process} = start_owner(kind)
    before = memory()
    begin = now()
    registering = Task.async(fn -> :erpc.call(owner, __MODULE__, :register, [count, kind], :infinity) end)
    until(fn -> seen() == count end)
    visible = seconds(begin)
    registered = Task.await(registering, :infinity)
    bytes = (memory() - before) / count
    local = :erpc.call(owner, __MODULE__, :local_look_ups, [count], :infinity)
    remote = per_second(count, fn id -> [_pid] = :pg.get_members(@scope, id) end)
    {_, 0} = System.cmd("kill", ["-KILL", process])
    begin = now()
    until(fn -> seen() == 0 end)
    death = seconds(begin) * 1000

    [
      register_per_s: round(count / registered),
      visible_s: Float.round(visible, 3),
      local_look_ups_per_s: round(local),
      remote_look_ups_per_s: round(remote),
      death_ms: Float.round(death, 1),
      bytes_per_remote_sensor: round(bytes)
    ]
    |> Enum.map_join(",", fn {name, value} -> "\"#{name}\":#{value}" end)
  end

  # A fresh owner; answers its node and its process's number.
  defp start_owner(kind) do
    [_, host] = node() |> Atom.to_string() |> String.split("@")
    name = String.to_atom("#{kind}-#{System.pid()}@#{host}")
    args = ["--name", "#{name}", __ENV__.file, "own", "#{node()}"]
    # It ends when this node does.
    Port.open({:spawn_executable, System.find_executable("elixir")}, [:hide, args: args])
    until(fn -> name in Node.list() end)
    {name, :erpc.call(name, System, :pid, [])}
  end

  # What `:pg` holds here: its table has one row per group.
  defp seen, do: :ets.info(@scope, :size)

  defp memory do
    :erlang.garbage_collect(Process.whereis(@scope))
    :erlang.memory(:total)
  end

  # === both ===

  defp serve do
    {:ok, _} = Registry.start_link(keys: :unique, name: Rival.Local, partitions: System.schedulers_online())
    {:ok, _} = :pg.start_link(@scope)
  end

  defp ids(count), do: Enum.map(0..(count - 1), &"building/sensor-#{String.pad_leading("#{&1}", 8, "0")}")

  # Not in the order of registration, from one process.
  defp per_second(count, look_up) do
    ids = List.to_tuple(ids(count))
    begin = now()
    Enum.each(1..@look_ups, fn at -> look_up.(elem(ids, rem(at * 611_953, count))) end)
    @look_ups / seconds(begin)
  end

  defp until(condition, deadline \\ now() + 120_000_000) do
    cond do
      condition.() ->
        :ok

      now() > deadline ->
        raise "waited two minutes in vain"

      true ->
        Process.sleep(1)
        until(condition, deadline)
    end
  end

  defp now, do: System.monotonic_time(:microsecond)
  defp seconds(begin), do: (now() - begin) / 1_000_000
end

case System.argv() do
  ["look-on", count] -> Rival.look_on(String.to_integer(count))
  ["own", looker] -> Rival.own(String.to_atom(looker))
end
