# What every contender does, in a VM of its own. Knows nothing of rounds and tables.
#
# What the others do not do that senza does: number the readings, keep a history, tell loss, have one owner of a sensor
# in the whole cluster, find sensors of other nodes without a process for each.
# What they do that it does not: a value is any term, and a group may have many members.

defmodule Bench.Contenders do
  alias Senza.SensorRegistry

  @registry Bench.Own
  @scope :bench
  # More than there are schedulers, which is the usual number: when 100,000 processes end at once, each partition looks
  # through its mailbox again and again, for 12 s with two partitions and 0.4 s with 16.
  @partitions 16
  # Readings on their way at most; the taker tells of every so many.
  @window 32_768
  @told 1_024

  # 24 bytes each.
  def ids(count), do: for(n <- 1..count, do: "building/sensor-" <> binary_part("#{100_000_000 + n}", 1, 8))

  # === what is there before anything is measured ===

  def start(:senza, options), do: stay(fn -> {:ok, _} = Senza.start_link([node: "b"] ++ options) end)

  def start(_, _) do
    stay(fn ->
      {:ok, _} = Registry.start_link(keys: :unique, name: @registry, partitions: @partitions)
      {:ok, _} = :pg.start_link(@scope)
      :ets.new(:latest, [:set, :public, :named_table, read_concurrency: true])
      :ets.new(:places, [:set, :public, :named_table, read_concurrency: true])
    end)
  end

  # Runs it in a process that outlives the caller.
  defp stay(prepare) do
    me = self()

    pid =
      spawn(fn ->
        prepare.()
        send(me, :prepared)
        Process.sleep(:infinity)
      end)

    receive do: (:prepared -> pid)
  end

  # === one measurement each: answers nanoseconds each, or what its name says ===

  def register(contender, %{sensors: count}) do
    start(contender, [])
    ids = ids(count)
    timed(count, fn -> Enum.each(ids, &register_one(contender, &1)) end)
  end

  defp register_one(:ets, id), do: :ets.insert(:places, {id, self()})
  defp register_one(:registry, id), do: {:ok, _} = Registry.register(@registry, id, nil)
  defp register_one(:pg, id), do: :ok = :pg.join(@scope, id, self())
  defp register_one(:senza, id), do: :ok = SensorRegistry.register(id, self())

  def whereis(contender, %{sensors: count, calls: calls}) do
    start(contender, [])
    ids = ids(count)
    Enum.each(ids, &register_one(contender, &1))
    ids = Enum.take(Stream.cycle(Enum.shuffle(ids)), calls)
    timed(calls, fn -> look_up(contender, ids) end)
  end

  defp look_up(_, []), do: :ok

  defp look_up(:ets, [id | ids]) do
    [{_, _pid}] = :ets.lookup(:places, id)
    look_up(:ets, ids)
  end

  defp look_up(:registry, [id | ids]) do
    [{_pid, _}] = Registry.lookup(@registry, id)
    look_up(:registry, ids)
  end

  defp look_up(:pg, [id | ids]) do
    [_pid] = :pg.get_members(@scope, id)
    look_up(:pg, ids)
  end

  defp look_up(:senza, [id | ids]) do
    {:ok, _pid} = SensorRegistry.whereis(id)
    look_up(:senza, ids)
  end

  def put(contender, %{sensors: count, calls: calls}) do
    start(if(contender == :ets, do: :ets, else: :senza), [])
    ids = ids(count)
    targets = if contender == :ets, do: ids, else: Enum.map(ids, &handle(contender, &1))
    # The first reading of a series makes it.
    put_all(contender, targets)
    targets = Enum.take(Stream.cycle(Enum.shuffle(targets)), calls)
    targets = if contender == :senza_many, do: Enum.chunk_every(targets, 256), else: targets
    timed(calls, fn -> put_all(contender, targets) end)
  end

  defp handle(:senza_handle, id), do: elem(Senza.register(id), 1)

  defp handle(_, id) do
    :ok = SensorRegistry.register(id, self())
    id
  end

  defp put_all(_, []), do: :ok

  defp put_all(:ets, [id | ids]) do
    :ets.insert(:latest, {id, 0.5, :os.system_time(:microsecond)})
    put_all(:ets, ids)
  end

  defp put_all(:senza, [id | ids]) do
    {:ok, _} = Senza.put(id, "v", 0.5)
    put_all(:senza, ids)
  end

  defp put_all(:senza_handle, [sensor | sensors]) do
    {:ok, _} = Senza.Sensor.put(sensor, "v", 0.5)
    put_all(:senza_handle, sensors)
  end

  defp put_all(:senza_many, [ids | rest]) when is_list(ids) do
    :ok = Senza.put_many(for id <- ids, do: {id, "v", 0.5})
    put_all(:senza_many, rest)
  end

  defp put_all(:senza_many, [id | rest]), do: put_all(:senza_many, [[id] | rest])

  # Bytes in RAM of a sensor with one reading, its process aside.
  def memory(contender, %{sensors: count}) do
    start(contender, [])
    resident()
    before = resident()
    # Ids that nobody shares.
    for id <- ids(count) do
      register_one(contender, id)
      if contender == :senza, do: Senza.put(id, "v", 0.5), else: :ets.insert(:latest, {id, 0.5, 1})
    end

    max(resident() - before, 0) / count
  end

  defp resident do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    [_, kilobytes] = Regex.run(~r/RssAnon:\s+(\d+)/, File.read!("/proc/self/status"))
    String.to_integer(kilobytes) * 1_024
  end

  # Milliseconds until the sensors of so many processes that are killed at once are gone.
  def death(contender, %{owners: count}) do
    start(contender, [])
    me = self()

    pids =
      for id <- ids(count) do
        spawn(fn ->
          register_one(contender, id)
          send(me, :registered)
          Process.sleep(:infinity)
        end)
      end

    for _ <- pids, do: receive(do: (:registered -> :ok))
    ^count = left(contender)
    timed(1, fn -> kill(contender, pids) end) / 1_000_000
  end

  defp kill(contender, pids) do
    Enum.each(pids, &Process.exit(&1, :kill))
    until(fn -> left(contender) == 0 end)
  end

  defp left(:registry), do: Registry.count(@registry)
  defp left(:pg), do: length(:pg.which_groups(@scope))
  defp left(:senza), do: hd(Senza.nodes()).sensors

  # === from VM to VM ===

  # Puts, one by one or so many together, for so long; the taker tells what it took. Answers how many it put.
  def write(contender, taker, %{sensors: count, ms: ms, batch: batch}) do
    ids = ids(count)
    sensors = if contender == :senza, do: Enum.map(ids, &declared/1)
    send(taker, {:writer, self()})
    # The taker has subscribed, and that is known here.
    receive do: (:go -> :ok)
    until(fn -> contender == :pg or Enum.all?(ids, &(Senza.demand(&1) != nil)) end)
    targets = if contender == :senza and batch == 1, do: sensors, else: ids
    until = System.monotonic_time(:millisecond) + ms
    put = write_on(contender, targets, targets, batch, taker, {0, 0}, until)
    send(taker, {:done, put})
    put
  end

  # A sensor whose attribute is there before its first reading, so that it may be wanted.
  defp declared(id) do
    {:ok, sensor} = Senza.register(id)
    :ok = Senza.Sensor.declare(sensor, ["v"])
    sensor
  end

  defp write_on(contender, [], all, batch, taker, account, until) do
    write_on(contender, all, all, batch, taker, account, until)
  end

  defp write_on(contender, targets, all, batch, taker, {put, taken}, until) do
    if rem(put, 64) < batch and System.monotonic_time(:millisecond) >= until do
      put
    else
      {now, rest} = Enum.split(targets, batch)
      write_now(contender, now, batch, taker, put)
      put = put + length(now)
      write_on(contender, rest, all, batch, taker, {put, wait(put, taken)}, until)
    end
  end

  defp wait(put, taken) when put - taken <= @window do
    receive do
      {:taken, taken} -> wait(put, taken)
    after
      0 -> taken
    end
  end

  defp wait(put, _), do: receive(do: ({:taken, taken} -> wait(put, taken)))

  defp write_now(:pg, [id], 1, _, put) do
    time = :os.system_time(:microsecond)
    :ets.insert(:latest, {id, 0.5, time})
    for pid <- :pg.get_members(@scope, :takers), do: send(pid, {:reading, id, "v", 0.5, time, put})
  end

  defp write_now(:pg, ids, _, _, put) do
    time = :os.system_time(:microsecond)
    readings = for id <- ids, do: {:reading, id, "v", 0.5, time, put}
    Enum.each(ids, &:ets.insert(:latest, {&1, 0.5, time}))
    for pid <- :pg.get_members(@scope, :takers), do: send(pid, {:readings, readings})
  end

  defp write_now(:senza, [sensor], 1, _, _), do: {:ok, _} = Senza.Sensor.put(sensor, "v", 0.5)
  defp write_now(:senza, ids, _, _, _), do: :ok = Senza.put_many(for id <- ids, do: {id, "v", 0.5})

  def serve(contender, to), do: send(to, {:took, take(contender)})

  # Takes what another VM puts; answers how many came, told as lost, and nanoseconds from the first to the last.
  def take(contender) do
    if contender == :pg, do: :ok = :pg.join(@scope, :takers, self())
    if contender == :senza, do: {:ok, _} = Senza.subscribe(Senza, attributes: ["v"])
    writer = receive do: ({:writer, writer} -> writer)
    send(writer, :go)
    take_on(writer, {0, 0}, {nil, nil}, :unknown)
  end

  defp take_on(_, {taken, lost}, {first, last}, put) when taken + lost == put, do: {taken, lost, last - first}

  defp take_on(writer, account, times, put) do
    receive do
      {:reading, _, _, _, _, _} -> took(writer, account, times, put, {1, 0})
      {:readings, readings} -> took(writer, account, times, put, {length(readings), 0})
      {:senza, feed, batch} -> took_batch(writer, account, times, put, feed, batch)
      {:done, put} -> take_on(writer, account, times, put)
    after
      # Told as it is: what is missing shows in the account.
      30_000 -> take_on(writer, account, times, account |> Tuple.to_list() |> Enum.sum())
    end
  end

  defp took(writer, {taken, lost}, {first, _}, put, {more, gone}) do
    now = System.monotonic_time(:nanosecond)
    sum = taken + more + lost + gone
    if div(sum, @told) > div(taken + lost, @told), do: send(writer, {:taken, sum})
    take_on(writer, {taken + more, lost + gone}, {first || now, now}, put)
  end

  defp took_batch(writer, account, times, put, feed, batch) do
    sums = Enum.reduce(batch, {0, 0}, &account/2)
    Senza.ack(feed)
    took(writer, account, times, put, sums)
  end

  defp account({:reading, _, _, _, _, _}, {count, gone}), do: {count + 1, gone}
  defp account({:gap, _, _, from, to, _}, {count, gone}), do: {count, gone + to - from + 1}
  defp account(_, sum), do: sum

  # === clocks ===

  defp timed(count, work) do
    begin = System.monotonic_time(:nanosecond)
    work.()
    (System.monotonic_time(:nanosecond) - begin) / count
  end

  def until(condition) do
    unless condition.() do
      Process.sleep(1)
      until(condition)
    end
  end
end
