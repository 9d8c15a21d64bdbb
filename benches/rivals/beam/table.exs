# Readings put into ETS, which holds what sensors last said, and got from it, by processes of one node. By handle, the
# key is a number, by id a binary of 24 bytes; a batch is one call of `ets:insert` with a list, and gets are one by one,
# as ETS has it. Each process puts its own stream of `length` readings again and again: uniform, all sensors in random
# order, then in another; zipf, drawn. `order`, of batches by handle, means nothing here.
#
# What it does not do that senza does: no history, no number of a reading, no subscription is looked for, no order by
# the time of the source.
# What it does that senza does not: a value is any term, and rows can be matched by patterns.

defmodule Table do
  # Single calls that are timed together, as those of the other contenders.
  @timed 256
  @read_back 1_000
  @exponent 0.99

  def params do
    [
      op: [:put, :get, :mixed],
      key: [:id, :handle],
      call: [:single, :batch],
      batch: 4_096,
      sensors: 100_000,
      threads: 1,
      keys: [:uniform, :zipf],
      order: [:shard, :scattered],
      length: 0,
      seconds: 1.0
    ]
  end

  def run(%{op: op, sensors: sensors, threads: threads} = params) do
    work = prepared(params)
    table = :ets.new(:table, [:set, :public] ++ locks(threads))
    for number <- 0..(sensors - 1), do: :ets.insert(table, {key(work, number), 0.0, 0})
    turns = turns(table, work)
    true = :ets.info(table, :size) == sensors
    read_back = if op == :get, do: 0, else: read_back(table, work, turns)
    [puts, gets, found] = for name <- [:puts, :gets, :found], do: turns |> Enum.map(& &1[name]) |> Enum.sum()
    per_s = turns |> Enum.map(&((&1.puts + &1.gets) / &1.seconds)) |> Enum.sum()
    us = fn part -> Histogram.quantile(work.block_ns, part) / 1_000 end

    {[
       {"readings_per_s", per_s},
       {"readings_per_s_per_thread", per_s / threads},
       {"p50_us_per_#{work.block}", us.(0.5)},
       {"p99_us_per_#{work.block}", us.(0.99)}
     ], %{offered: puts + gets, arrived: puts + found, told: 0, lost: gets - found},
     puts: puts, gets: gets, read_back: read_back, configuration: configuration(work, turns)}
  end

  defp configuration(%{call: call, threads: threads}, turns) do
    one_insert = call == :batch and Enum.all?(turns, & &1.distinct)
    %{ets: inspect([:set, :public] ++ locks(threads)), insert: if(one_insert, do: "a list", else: "one by one")}
  end

  # For one process, locks for several would only cost.
  defp locks(1), do: []
  defp locks(_), do: [write_concurrency: true, read_concurrency: true, decentralized_counters: true]

  defp prepared(%{sensors: sensors, batch: batch, call: call, keys: keys} = params) do
    usual = if keys == :zipf, do: 1_048_576, else: max(65_536, sensors)
    length = max(if(params.length == 0, do: usual, else: params.length), batch)
    block = if call == :batch, do: batch, else: @timed
    Map.merge(params, %{length: div(length, block) * block, block: block, block_ns: Histogram.new()})
  end

  defp key(%{key: :id}, number), do: BeamNode.id(number)
  defp key(_, number), do: number

  # === what is timed ===

  defp turns(table, work) do
    me = self()
    hands = for thread <- 0..(work.threads - 1), do: elem(spawn_monitor(fn -> hand(table, work, thread, me) end), 0)
    for hand <- hands, do: answer(hand)
    for hand <- hands, do: send(hand, :begin)
    for hand <- hands, do: answer(hand)
  end

  defp answer(hand) do
    receive do
      {^hand, answer} -> answer
      {:DOWN, _, :process, ^hand, why} -> raise "a process ended: #{inspect(why)}"
    end
  end

  # A process that puts and gets.
  defp hand(table, work, thread, me) do
    numbers = stream(work, thread)
    distinct = numbers |> Enum.chunk_every(work.block) |> Enum.all?(&(Enum.uniq(&1) == &1))
    # Where no collection goes over it: the key and the value of each place, keys in the order of the stream.
    :persistent_term.put({:stream, thread}, places(numbers, thread, work))
    send(me, {self(), :ready})
    receive do: (:begin -> :ok)
    stream = :persistent_term.get({:stream, thread})
    begin = nanoseconds()
    until = begin + round(work.seconds * 1.0e9)
    load = Map.merge(work, %{table: table, stream: stream, distinct: distinct, begin: begin, until: until})
    {done, last, counts} = blocks(0, begin, {0, 0, 0}, load)
    {puts, gets, found} = counts

    turn = %{
      numbers: numbers,
      done: done,
      seconds: (last - begin) / 1.0e9,
      puts: puts,
      gets: gets,
      found: found,
      distinct: distinct
    }

    send(me, {self(), turn})
  end

  defp places(numbers, thread, work) do
    for({number, place} <- Enum.with_index(numbers), do: {key(work, number), value(thread, place)}) |> List.to_tuple()
  end

  # No other of any process says the same.
  defp value(thread, place), do: thread * 4_294_967_296.0 + place

  defp blocks(done, last, counts, %{until: until}) when last >= until, do: {done, last, counts}

  defp blocks(done, last, counts, load) do
    from = rem(done, div(load.length, load.block)) * load.block
    # What a clock that is read once per block says; from 2, since the first rows came before.
    now = div(last - load.begin, 1_000) + 2
    counts = block(load.op, load.call, from, from + load.block, now, counts, load)
    ended = nanoseconds()
    Histogram.add(load.block_ns, ended - last)
    blocks(done + 1, ended, counts, load)
  end

  defp block(:put, call, from, to, now, {puts, gets, found}, load) do
    put(call, from, to, now, load)
    {puts + to - from, gets, found}
  end

  defp block(:get, _, from, to, _, {puts, gets, found}, load) do
    {puts, gets + to - from, get(from, to, load.table, load.stream, found)}
  end

  # A tenth are gets, of sensors that were not just put.
  defp block(:mixed, :batch, from, to, now, {puts, gets, found}, load) do
    put(:batch, from, to, now, load)
    other = rem(from + div(load.length, 2), load.length)
    until = min(other + div(to - from, 9), load.length)
    {puts + to - from, gets + until - other, get(other, until, load.table, load.stream, found)}
  end

  defp block(:mixed, :single, from, to, now, {puts, gets, found}, load) when from < to do
    until = min(from + 9, to)
    put(:single, from, until, now, load)
    other = rem(from + div(load.length, 2), load.length)
    found = get(other, other + 1, load.table, load.stream, found)
    block(:mixed, :single, until, to, now, {puts + until - from, gets + 1, found}, load)
  end

  defp block(:mixed, :single, _, _, _, counts, _), do: counts

  # One insert of a list leaves it open which row of a sensor stays that it has twice: then a batch goes one by one.
  defp put(:batch, from, to, now, %{distinct: true} = load),
    do: :ets.insert(load.table, rows(from, to, now, load.stream))

  defp put(_, from, to, now, load), do: put_singly(from, to, now, load.table, load.stream)

  defp put_singly(to, to, _, _, _), do: :ok

  defp put_singly(place, to, now, table, stream) do
    {key, value} = elem(stream, place)
    :ets.insert(table, {key, value, now})
    put_singly(place + 1, to, now, table, stream)
  end

  defp rows(to, to, _, _), do: []

  defp rows(place, to, now, stream) do
    {key, value} = elem(stream, place)
    [{key, value, now} | rows(place + 1, to, now, stream)]
  end

  defp get(to, to, _, _, found), do: found

  defp get(place, to, table, stream, found) do
    {key, _} = elem(stream, place)

    case :ets.lookup(table, key) do
      [{^key, value, _}] when is_float(value) -> get(place + 1, to, table, stream, found + 1)
      [] -> get(place + 1, to, table, stream, found)
    end
  end

  defp nanoseconds, do: System.monotonic_time(:nanosecond)

  # === which sensors, in which order ===

  defp stream(%{sensors: sensors, length: length, keys: :uniform}, thread) do
    seed(thread + 1)
    rounds = div(length + sensors - 1, sensors)
    1..rounds |> Enum.flat_map(fn _ -> Enum.shuffle(0..(sensors - 1)) end) |> Enum.take(length)
  end

  defp stream(%{sensors: sensors, length: length, keys: :zipf}, thread) do
    # The same sensors are frequent for all processes.
    seed(0)
    all = Enum.shuffle(0..(sensors - 1)) |> List.to_tuple()
    seed(thread + 1)
    sums = 1..sensors |> Enum.scan(0.0, fn rank, sum -> sum + :math.pow(rank, -@exponent) end) |> List.to_tuple()
    whole = elem(sums, sensors - 1)
    for _ <- 1..length, do: elem(all, rank(:rand.uniform() * whole, sums, 0, sensors - 1))
  end

  defp seed(number), do: :rand.seed(:exsss, number)

  # The first place whose sum reaches so far.
  defp rank(_, _, low, low), do: low

  defp rank(at, sums, low, high) do
    middle = div(low + high, 2)
    if elem(sums, middle) < at, do: rank(at, sums, middle + 1, high), else: rank(at, sums, low, middle)
  end

  # === what is checked ===

  # Some sensors have the value that was put last, of several processes the last of one of them; answers how many.
  defp read_back(table, work, turns) do
    every = div(work.sensors + @read_back - 1, @read_back)
    last = for {turn, thread} <- Enum.with_index(turns), do: last_puts(turn, thread, work, every)

    expected = fn number -> for puts <- last, value = puts[number], do: value end
    numbers = for number <- 0..(work.sensors - 1)//every, expected.(number) != [], do: number
    if numbers == [], do: raise("none of the sensors read back was put")

    for number <- numbers do
      [{_, value, _}] = :ets.lookup(table, key(work, number))
      if value not in expected.(number), do: raise("#{number} has #{value}, which was not put last")
    end

    length(numbers)
  end

  # Of those that are read back: the whole stream was put where it was begun anew, then what of it was put since.
  defp last_puts(%{numbers: numbers, done: done}, thread, work, every) do
    count = div(work.length, work.block)
    puts = numbers |> Enum.with_index() |> Enum.filter(fn {number, _} -> rem(number, every) == 0 end)
    whole = if done >= count, do: puts, else: []
    since = Enum.take_while(puts, fn {_, place} -> place < rem(done, count) * work.block end)
    for {number, place} <- whole ++ since, into: %{}, do: {number, value(thread, place)}
  end
end
