# From one process that puts to many that read, on one node: put → ETS → `Registry` → subscribers, each of which gets
# every reading and checks its number. A closed loop by credits of the slowest, so that mailboxes are bounded.
#
# What it does not do that senza does: see relay.exs; above all, nothing but the latest value is kept.

defmodule Fanout do
  # A subscriber says after so many how many it took.
  @told_after 1_024

  # `window`: blocks by which the one that puts may be ahead of the slowest subscriber.
  def params do
    [
      sensors: 1_000,
      subscribers: 10,
      call: [:batch, :single],
      block: 4_096,
      window: 4,
      bytes: 8,
      seconds: 1.0,
      # Here one process puts, and each subscriber is one that reads.
      writers: [:"1"],
      readers: 0
    ]
  end

  def run(%{sensors: sensors, subscribers: subscribers, call: call, block: block, bytes: bytes} = params) do
    Bus.start()
    writer = self()
    takers = for _ <- 1..subscribers, do: elem(spawn_monitor(fn -> take(sensors, bytes, call, writer) end), 0)
    for taker <- takers, do: receive(do: ({:ready, ^taker} -> :ok))
    put = Readings.putter(sensors, sensors, if(call == :single, do: 1, else: block))
    begin = BeamNode.now()
    until = begin + round(params.seconds * 1_000_000)
    # At least what a subscriber takes before it tells.
    window = max(params.window * block, 2 * @told_after)
    load = %{put: put, value: Readings.value(bytes), sensors: sensors, block: block, window: window, until: until}
    {count, in_puts} = put_blocks(0, 0, Map.from_keys(takers, 0), load)
    for taker <- takers, do: send(taker, {:done, :enough})
    arrived = for taker <- takers, do: receive(do: ({:took, ^taker, arrived} -> arrived))
    elapsed = BeamNode.seconds(begin)
    [offered, arrived] = [count * subscribers, Enum.sum(arrived)]

    {[deliveries_per_s: arrived / elapsed, readings_per_s: count / elapsed, ns_per_put: in_puts * 1_000 / count],
     %{offered: offered, arrived: arrived, told: 0, lost: offered - arrived},
     puts: count, configuration: %{readings_on_their_way_max: window}}
  end

  # === the processes that read ===

  defp take(sensors, bytes, call, writer) do
    Readings.subscribe(if call == :single, do: sensors, else: 0)
    send(writer, {:ready, self()})
    {:enough, arrived, _} = Readings.take(Readings.taker(sensors, bytes, acknowledge: @told_after), writer)
    send(writer, {:took, self(), arrived})
  end

  # === the process that puts ===

  # Answers how many, and for how many microseconds it was putting.
  defp put_blocks(put, in_puts, taken, load) do
    begin = BeamNode.now()

    if begin >= load.until do
      {put, in_puts}
    else
      load.put.(Readings.next(put, load.block, load.sensors, Readings.clock(), load.value))
      in_puts = in_puts + BeamNode.now() - begin
      put = put + load.block
      put_blocks(put, in_puts, wait(put, taken, load.window), load)
    end
  end

  # Until the slowest has taken enough.
  defp wait(put, taken, window) do
    receive do
      {:taken, count, taker} -> wait(put, %{taken | taker => count}, window)
      {:DOWN, _, :process, _, why} -> raise "a subscriber ended: #{inspect(why)}"
    after
      if(put - Enum.min(Map.values(taken)) > window, do: :infinity, else: 0) -> taken
    end
  end
end
