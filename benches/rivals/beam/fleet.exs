# Whole fleets at the rates at which their devices measure, and what it costs to carry them: an open loop (pace.exs), in
# which all that is due within a millisecond is put together. One node puts, as a gateway does; one reads everything, or
# the share of the series that somebody watches. Processor time is that of both nodes.
#
# What it does not do that senza does: see relay.exs; above all, a reading that nobody watches goes to the other node
# all the same, whose relay finds no subscriber.

defmodule Fleet do
  # The first readings open the way: they are of no account.
  @warm_up_s 0.1
  @warm_up_readings 50_000
  @tick_us 1_000

  # Each attribute of a sensor is one series: how many measure it, and how often a second.
  @fleets %{
    # 300 people in a study: ECG of 45, heart rate of the others, temperature and battery of all; 4,586 readings/s.
    massive_study: {8, [{45, 100.0}, {255, 0.2}, {300, 0.1}, {300, 1 / 60}]},
    # 50 pairs of glasses that follow eyes: gaze, how far and how often eyes close, whether worn, battery; 13,055
    # readings/s. A gaze is three numbers.
    pupil_neon: {24, [{50, 200.0}, {50, 30.0}, {50, 30.0}, {50, 1.0}, {50, 0.1}]}
  }

  # `bytes` 0: as the fleet's own are.
  def params, do: [workload: Map.keys(@fleets), scale: 1, watched: 1.0, bytes: 0, batch: 1, seconds: 1.0]

  def run(%{workload: workload, scale: scale, watched: share, batch: batch} = params) do
    {own_bytes, attributes} = @fleets[workload]
    bytes = if params.bytes == 0, do: own_bytes, else: params.bytes
    {kinds, watched} = kinds(attributes, scale, share)
    sensors = kinds |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    per_s = kinds |> Enum.map(&elem(&1, 2)) |> Enum.sum()
    taker = Readings.taker(sensors, bytes, latencies: Histogram.new())
    told = %{kinds: kinds, sensors: sensors, watched: watched, bytes: bytes, batch: batch, per_s: per_s}
    singly = if batch == 1, do: watched, else: 0
    {run, arrived, taker} = Readings.carry(__MODULE__, Map.put(told, :seconds, params.seconds), taker, singly)
    cpu_s = run.processor_s + taker.processor_s
    # What arrived where it was wanted, and what was put and nobody wanted.
    done = run.put - run.offered + arrived
    {metrics, account, details} = Pace.told(run, arrived, taker, run.offered)

    {[
       cpu_s_per_million: cpu_s * 1_000_000 / max(done, 1),
       delivered_share: done / max(run.put + run.not_put, 1),
       processor_share: cpu_s / params.seconds
     ] ++ metrics, account,
     Map.put(details, :fleet, %{series: sensors, watched_series: watched, readings_per_s: per_s, bytes: bytes})}
  end

  # The series of so many times as many sensors, the watched ones first, and how many these are: of each attribute the
  # same share.
  defp kinds(attributes, scale, share) do
    parts =
      for {sensors, hertz} <- attributes do
        watched = (sensors * scale * share) |> round() |> max(1) |> min(sensors * scale)
        {watched, sensors * scale - watched, hertz}
      end

    of_all = for({series, _, hertz} <- parts, do: {series, hertz}) ++ for {_, rest, hertz} <- parts, do: {rest, hertz}

    {kinds, _} =
      of_all
      |> Enum.filter(fn {series, _} -> series > 0 end)
      |> Enum.map_reduce(0, fn {series, hertz}, first -> {{first, series, series * hertz, 0}, first + series} end)

    {kinds, parts |> Enum.map(&elem(&1, 0)) |> Enum.sum()}
  end

  # === the node that puts ===

  def write(%{kinds: kinds, sensors: sensors, watched: watched, bytes: bytes, batch: batch, per_s: per_s} = told) do
    put = Readings.putter(sensors, watched, batch)
    value = Readings.value(bytes)
    {schedule, _} = Pace.run(%{kinds: kinds, tick_us: @tick_us}, min(@warm_up_s, @warm_up_readings / per_s), value, put)
    Readings.flush(:forget)
    {before, processor_s} = {Pace.put_below(schedule, watched), BeamNode.processor_s()}
    {schedule, run} = Pace.run(schedule, told.seconds, value, put)
    Readings.flush()
    offered = Pace.put_below(schedule, watched) - before
    Map.merge(run, %{offered: offered, processor_s: BeamNode.processor_s() - processor_s})
  end
end
