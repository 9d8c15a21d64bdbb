defmodule Senza.Many do
  @moduledoc false
  # What `Senza.put_many/2` does: few readings on the caller's scheduler, many on a dirty one, times as microseconds.

  alias Senza.{Error, Native}

  # Readings that a normal scheduler takes in one call.
  @few 256

  def put(ref, readings) do
    put = if few?(readings, @few), do: &Native.put_few/2, else: &Native.put_many/2
    ref |> put.(readings) |> answered(ref, readings)
  end

  defp answered(:ok, _ref, _readings), do: :ok

  defp answered(refused, _ref, _readings) when is_list(refused) do
    {:refused, for({at, fault} <- refused, do: {at, elem(Error.of(fault), 1)})}
  end

  defp answered({:senza_error, :busy, _, _}, ref, readings) do
    ref |> Native.put_many(readings) |> answered(ref, readings)
  end

  defp answered({:senza_error, :times, _, _}, ref, readings), do: put(ref, Enum.map(readings, &with_micros/1))
  defp answered(fault, _ref, _readings), do: Error.of(fault)

  defp few?([_ | rest], left) when left > 0, do: few?(rest, left - 1)
  defp few?([_ | _], 0), do: false
  defp few?(_, _), do: true

  defp with_micros({sensor, attribute, value, %DateTime{} = time}), do: {sensor, attribute, value, Senza.micros(time)}
  # Of any other map the compiled part would ask again.
  defp with_micros({_, _, _, time}) when is_map(time), do: raise(ArgumentError, rule(time))
  defp with_micros(reading), do: reading

  defp rule(time), do: "a time must be a DateTime, or microseconds since 1970 that fit 64 bits, got: #{inspect(time)}"
end
