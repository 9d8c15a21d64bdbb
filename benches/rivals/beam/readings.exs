# Readings on their way: put into ETS as the latest and broadcast by one process of a node, taken by one of another. A
# reading is `{sensor, seq, at, value}`: a number below `sensors`, its number within its sensor from 1 without a hole,
# when it was put or due in microseconds since 1970, and a float or so many bytes. Knows no pace.
#
# A single reading goes by the topic of its sensor, as a term. Several that are put together go by a topic of all,
# packed into one binary: it is not copied from process to process, as a list of terms is at every hop.

defmodule Readings do
  @watched "watched"
  @rest "rest"

  def watched, do: @watched

  def value(8), do: 0.5
  def value(bytes), do: :binary.copy(<<7>>, bytes)

  # Microseconds since 1970, the same for all processes of a machine.
  def clock, do: :os.system_time(:microsecond)

  # === both ends ===

  # Starts a node that puts by `module.write(params)`, and has the caller take that, singly of the first `watched`
  # sensors; answers what `write` does, how many were taken, and the taker.
  def carry(module, params, taker, watched) do
    Bus.start()
    writer = BeamNode.start("writer")
    BeamNode.call(writer, Bus, :start, [])
    BeamNode.until(fn -> Bus.reach() == 1 and BeamNode.call(writer, Bus, :reach, []) == 1 end)
    subscribe(watched)
    {writer, _} = Node.spawn_monitor(writer.node, __MODULE__, :serve, [module, params, self()])
    take(taker, writer)
  end

  def serve(module, params, taker), do: send(taker, {:done, module.write(params)})

  # === the end that puts ===

  # The next of so many that were put, one sensor after the other, round by round.
  def next(put, count, sensors, at, value) do
    {sensor, seq} = place(put, sensors)
    rounds(count, sensor, seq, at, value, sensors)
  end

  def place(put, sensors), do: {rem(put, sensors), div(put, sensors) + 1}

  defp rounds(0, _, _, _, _, _), do: []
  defp rounds(count, sensors, seq, at, value, sensors), do: rounds(count, 0, seq + 1, at, value, sensors)

  defp rounds(count, sensor, seq, at, value, sensors) do
    [{sensor, seq, at, value} | rounds(count - 1, sensor + 1, seq, at, value, sensors)]
  end

  # A node's latest values. One process writes, so that locks for several would only cost.
  def latest, do: :ets.new(:latest, [:set, :protected, read_concurrency: true])

  def put_one(table, topic, reading) do
    :ets.insert(table, reading)
    Bus.broadcast(topic, reading)
  end

  # One who watches watches all of a topic. Not one insert of the whole list: where that has a sensor twice, it is left
  # open which row stays, and with thousands it is the first.
  def put_many(table, topic, readings) do
    Enum.each(readings, &:ets.insert(table, &1))
    Bus.broadcast(topic, pack(readings))
  end

  # What puts a list of readings as `batch` says: each by itself, or as many together as there are up to that; then
  # those of the first `watched` sensors go by another topic than the rest.
  def putter(sensors, watched, batch) do
    {table, ids} = {latest(), BeamNode.ids(sensors)}

    fn
      readings when batch == 1 ->
        Enum.each(readings, &put_one(table, elem(ids, elem(&1, 0)), &1))

      readings when watched == sensors ->
        put_batches(table, @watched, readings, batch)

      readings ->
        {wanted, rest} = Enum.split_with(readings, &(elem(&1, 0) < watched))
        put_batches(table, @watched, wanted, batch)
        put_batches(table, @rest, rest, batch)
    end
  end

  defp put_batches(_, _, [], _), do: :ok

  defp put_batches(table, topic, readings, batch) do
    {now, later} = Enum.split(readings, batch)
    put_many(table, topic, now)
    put_batches(table, topic, later, batch)
  end

  # Waits until at most `window` of those put are not yet taken, as far as the caller knows; answers what it knows.
  def wait(put, taken, window) when put - taken <= window, do: taken
  def wait(put, _, window), do: receive(do: ({:taken, taken, _} -> wait(put, taken, window)))

  # Waits for what is on its way. With `:forget`, nothing that was put so far is of account.
  def flush(what \\ :keep) do
    mark = make_ref()
    Bus.broadcast(@watched, {:flush, what, {self(), mark}})
    receive do: (^mark -> :ok)
  end

  defp pack([{_, _, _, value} | _] = readings) when is_float(value) do
    for {sensor, seq, at, value} <- readings, into: <<>>, do: <<sensor::32, seq::64, at::64, value::float>>
  end

  defp pack(readings) do
    for {sensor, seq, at, value} <- readings, into: <<>>, do: <<sensor::32, seq::64, at::64, value::binary>>
  end

  # === the end that takes ===

  # What it knows of readings; `latencies` is a histogram where these are wanted, and `acknowledge` says after how many
  # it tells the other end what it took.
  def taker(sensors, bytes, options) do
    %{
      seen: :counters.new(sensors, []),
      bytes: bytes,
      latencies: options[:latencies],
      acknowledge: options[:acknowledge] || :never,
      writer: nil,
      # When the last came, and the processor time of this node, since nothing was of account.
      last: 0,
      processor_s: 0.0
    }
  end

  # Subscribes the caller to what is put singly of the first `watched` sensors, and to what is put together of them.
  def subscribe(watched) do
    Process.flag(:message_queue_data, :off_heap)
    Bus.subscribe(@watched)
    for sensor <- 0..(watched - 1)//1, do: Bus.subscribe(BeamNode.id(sensor))
  end

  # Takes all that comes until it is told `{:done, answer}`; answers that, how many came, and the taker.
  def take(taker, writer), do: take_all(%{taker | writer: writer}, 0, 0)

  defp take_all(taker, count, told) do
    receive do
      packed when is_binary(packed) ->
        now = if taker.latencies, do: clock()
        count = count + div(byte_size(packed), 20 + taker.bytes)
        if taker.bytes == 8, do: unpack(packed, taker, now), else: unpack_bytes(packed, taker.bytes, taker, now)
        take_all(taker, count, tell(taker, count, told))

      {sensor, seq, at, value} ->
        true = if is_float(value), do: taker.bytes == 8, else: taker.bytes == byte_size(value)
        note(sensor, seq, at, taker, taker.latencies && clock())
        take_all(taker, count + 1, tell(taker, count + 1, told))

      {:flush, :keep, {writer, mark}} ->
        send(writer, mark)
        take_all(%{taker | last: clock(), processor_s: BeamNode.processor_s() - taker.processor_s}, count, told)

      {:flush, :forget, {writer, mark}} ->
        send(writer, mark)
        take_all(%{taker | latencies: Histogram.new(), processor_s: BeamNode.processor_s()}, 0, 0)

      {:done, answer} ->
        {answer, count, taker}

      {:DOWN, _, :process, _, why} ->
        raise "the writer ended: #{inspect(why)}"
    end
  end

  defp tell(%{acknowledge: every, writer: writer}, count, told) when count - told >= every do
    send(writer, {:taken, count, self()})
    count
  end

  defp tell(_, _, told), do: told

  defp unpack(<<sensor::32, seq::64, at::64, _value::float, rest::binary>>, taker, now) do
    note(sensor, seq, at, taker, now)
    unpack(rest, taker, now)
  end

  defp unpack(<<>>, _, _), do: :ok

  defp unpack_bytes(<<sensor::32, seq::64, at::64, rest::binary>>, bytes, taker, now) do
    note(sensor, seq, at, taker, now)
    <<_value::binary-size(bytes), rest::binary>> = rest
    unpack_bytes(rest, bytes, taker, now)
  end

  defp unpack_bytes(<<>>, _, _, _), do: :ok

  # Numbers of a sensor come in order; what is missing is missing in the count.
  defp note(sensor, seq, at, %{seen: seen, latencies: latencies}, now) do
    if seq <= :counters.get(seen, sensor + 1), do: raise("number #{seq} of sensor #{sensor} came late or twice")
    :counters.put(seen, sensor + 1, seq)
    if now, do: Histogram.add(latencies, now - at)
  end
end
