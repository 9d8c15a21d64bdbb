# The open loop: readings are due by a schedule, whatever becomes of those before them. What is late because the one
# that puts or its node stood still is put at once with the time at which it was *due*. It sleeps and does not spin, by
# timers that fall on the milliseconds of the node's clock, as its own do. What could not be put by the end of the
# schedule is told as not put. Knows nothing of any family.

defmodule Pace do
  # It goes on so long after the end of the schedule with what is due.
  @grace_us 20_000
  # Within so many microseconds a timer that is early is not put off by a whole millisecond.
  @early_us 50

  # A schedule is what was put so far by kinds of series, `{first, series, per_s, put}`, each series due equally often,
  # and every tick all those are due that belong to the time up to the next one.

  # One kind at one rate: each alone up to one a millisecond, then as many as are due in a millisecond together. A tick
  # is of whole milliseconds, as the timers are.
  def even(sensors, per_s) do
    apart_us = div(1_000_000, max(per_s, 1))
    %{kinds: [{0, sensors, per_s, 0}], tick_us: max(div(apart_us, 1_000), 1) * 1_000}
  end

  def put(%{kinds: kinds}), do: kinds |> Enum.map(&elem(&1, 3)) |> Enum.sum()

  # Readings of sensors below this that were put so far; no kind lies on both sides of it.
  def put_below(%{kinds: kinds} = schedule, sensor) do
    put(%{schedule | kinds: Enum.filter(kinds, fn {first, _, _, _} -> first < sensor end)})
  end

  # Puts by a schedule for so many seconds, by `put_all`, which takes what is due at once: a list of `{sensor, seq, at,
  # value}`. Answers the schedule, when it began, how many were due and not put, and by how much it was late at each
  # tick.
  def run(schedule, seconds, value, put_all) do
    ahead = clock() - mono()
    # A whole millisecond of the node's own clock, which counts up to 0 and beyond.
    begin = (Integer.floor_div(mono(), 1_000) + 3) * 1_000 + ahead
    span = round(seconds * 1_000_000)
    before = Enum.map(schedule.kinds, &elem(&1, 3))
    late = Histogram.new()
    load = %{begin: begin, span: span, before: before, tick: schedule.tick_us, value: value, late: late, put: put_all}
    kinds = tick(schedule.kinds, 0, load)
    due = schedule.kinds |> Enum.map(&due(&1, span)) |> Enum.sum()
    put = put(%{kinds: kinds}) - Enum.sum(before)
    late = Histogram.told(late, [:p50_us, :p99_us, :max_us])
    {%{schedule | kinds: kinds}, %{begin: begin, span: span, put: put, not_put: max(due - put, 0), late: late}}
  end

  defp tick(kinds, since, %{span: span}) when since >= span, do: kinds

  defp tick(kinds, since, load) do
    due = load.begin + since
    wait(due)
    now = clock()

    if now > load.begin + load.span + @grace_us do
      kinds
    else
      Histogram.add(load.late, now - due)
      {readings, kinds} = at_tick(kinds, load.before, since + load.tick, due, load.value)
      load.put.(readings)
      tick(kinds, since + load.tick, load)
    end
  end

  # What is due up to so many microseconds after the begin.
  defp at_tick(kinds, before, until, at, value) do
    Enum.zip(kinds, before)
    |> Enum.flat_map_reduce([], fn {{first, series, per_s, put} = kind, before}, kinds ->
      now = before + due(kind, until)
      {readings(put, now, first, series, at, value), [{first, series, per_s, now} | kinds]}
    end)
    |> then(fn {readings, kinds} -> {readings, Enum.reverse(kinds)} end)
  end

  defp readings(put, put, _, _, _, _), do: []

  defp readings(put, now, first, series, at, value) do
    [{first + rem(put, series), div(put, series) + 1, at, value} | readings(put + 1, now, first, series, at, value)]
  end

  # A hair more, so that a whole number is not missed by rounding.
  defp due({_, _, per_s, _}, us), do: trunc(us * per_s / 1_000_000 + 1.0e-6)

  defp wait(due) do
    ahead = due - clock()

    if ahead > 0 do
      at = Integer.floor_div(mono() + ahead + 999 - @early_us, 1_000)
      timer = :erlang.start_timer(at, self(), :due, abs: true)
      receive do: ({:timeout, ^timer, :due} -> :ok)
      # Rarely more than once.
      if clock() < due - @early_us, do: wait(due)
    end
  end

  defp clock, do: Readings.clock()
  defp mono, do: System.monotonic_time(:microsecond)

  # === what every open loop tells ===

  def told(run, arrived, taker, offered) do
    took = max(taker.last - run.begin, run.span)
    latencies = Histogram.told(taker.latencies, [:p50_us, :p90_us, :p99_us, :p999_us, :max_us])

    {latencies ++ [achieved_per_s: arrived * 1_000_000 / took, not_put_readings: run.not_put],
     %{offered: offered, arrived: arrived, told: 0, lost: offered - arrived}, %{writer_late_us: Map.new(run.late)}}
  end
end
