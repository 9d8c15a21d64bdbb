# How long a reading takes from one process to another at a rate that does not wait for it: an open loop (pace.exs),
# each reading alone up to 1,000 a second, all of a millisecond together above. Latency counts from when it was due
# until the subscriber has it in hand.
#
# What it does not do that senza does, and the other way round: see relay.exs.

defmodule Latency do
  # The first readings open the way: they are of no account, and no more than so many a second.
  @warm_up_s 0.2
  @warm_up_per_s 100_000

  def params, do: [rate: 1_000, sensors: 1_000, bytes: 8, batch: 1, seconds: 1.0]

  def run(%{sensors: sensors, bytes: bytes, batch: batch} = params) do
    taker = Readings.taker(sensors, bytes, latencies: Histogram.new())
    singly = if batch == 1, do: sensors, else: 0
    {run, arrived, taker} = Readings.carry(__MODULE__, params, taker, singly)
    Pace.told(run, arrived, taker, run.put)
  end

  # === the node that puts ===

  def write(%{rate: rate, sensors: sensors, bytes: bytes, batch: batch, seconds: seconds}) do
    put = Readings.putter(sensors, sensors, batch)
    value = Readings.value(bytes)
    schedule = Pace.even(sensors, rate)
    {schedule, _} = Pace.run(schedule, @warm_up_s * min(1.0, @warm_up_per_s / rate), value, put)
    Readings.flush(:forget)
    {_, run} = Pace.run(schedule, seconds, value, put)
    Readings.flush()
    run
  end
end
