# How often which time was seen, in microseconds: exact below 1,024, above to a part in 512. Knows nothing of readings.

defmodule Histogram do
  import Bitwise

  # 512 steps for each doubling, of which there are enough for an hour.
  @steps 512
  @doublings 24

  def new, do: :counters.new(@steps * (@doublings + 2), [])

  def add(histogram, micros), do: :counters.add(histogram, place(max(micros, 0), 0), 1)

  def count(histogram), do: Enum.sum(counts(histogram))

  # The lowest time that so large a part does not exceed; 0 of nothing.
  def quantile(histogram, part) do
    counts = counts(histogram)
    rank = ceil(Enum.sum(counts) * part)

    counts
    |> Enum.with_index(1)
    |> Enum.reduce_while(0, fn {count, place}, below ->
      if below + count >= rank, do: {:halt, {:at, time(place)}}, else: {:cont, below + count}
    end)
    |> then(fn found -> with {:at, time} <- found, do: time end)
  end

  # `p50_us` and so on.
  def told(histogram, names) do
    parts = [p50_us: 0.5, p90_us: 0.9, p99_us: 0.99, p999_us: 0.999, max_us: 1.0]
    for name <- names, do: {name, quantile(histogram, parts[name])}
  end

  defp place(micros, doubling) when micros < 2 * @steps, do: min(doubling, @doublings) * @steps + micros + 1
  defp place(micros, doubling), do: place(micros >>> 1, doubling + 1)

  # The middle of a place.
  defp time(place) when place <= 2 * @steps, do: place - 1

  defp time(place) do
    doubling = div(place - 1, @steps) - 1
    ((place - 1 - doubling * @steps) <<< doubling) + (1 <<< doubling >>> 1)
  end

  defp counts(histogram) do
    %{size: size} = :counters.info(histogram)
    for place <- 1..size, do: :counters.get(histogram, place)
  end
end
