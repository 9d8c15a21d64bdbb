defmodule Senza.Contract do
  @moduledoc false
  # What a subscription asks for beside its filter, as the compiled part reads it: plain tuples. Types are checked here,
  # ranges by the engine.

  @type want :: %{
          pace: :every | :latest | :interval,
          interval_us: non_neg_integer,
          deadband: nil | {:absolute | :percent, float},
          heartbeat_ms: non_neg_integer
        }

  @defaults [
    pace: :every,
    max_rate: nil,
    deadband: nil,
    deadband_percent: nil,
    heartbeat_ms: 0,
    overflow: :drop_oldest,
    queue_max: 65_536,
    start: :live
  ]
  @most 0x7FFF_FFFF_FFFF_FFFF

  def raw!(options) do
    options = options |> Keyword.validate!(@defaults) |> Map.new()
    {pace, interval_us} = pace!(options)
    {deadband, width} = deadband!(options)
    {overflow, wait_us} = overflow!(options.overflow)
    {start, at} = start!(options.start)
    heartbeat_us = whole!(:heartbeat_ms, options.heartbeat_ms) * 1_000
    want = {pace, interval_us, deadband, width, heartbeat_us}
    {want, overflow, wait_us, whole!(:queue_max, options.queue_max), start, at}
  end

  defp pace!(%{pace: pace, max_rate: nil}) when pace in [:every, :latest], do: {Atom.to_string(pace), 0}

  defp pace!(%{pace: :every, max_rate: rate}) when is_number(rate) and rate > 0 do
    # Beyond its range the engine names the rule.
    {"interval", min(round(1_000_000 / max(rate, 1.0e-9)), @most)}
  end

  defp pace!(%{max_rate: nil} = options), do: refuse!(:pace, options.pace, ":every or :latest")
  defp pace!(options), do: refuse!(:max_rate, options.max_rate, "a number above 0, with pace: :every")

  defp deadband!(%{deadband: nil, deadband_percent: nil}), do: {"none", 0.0}
  defp deadband!(%{deadband: width, deadband_percent: nil}) when is_number(width), do: {"absolute", width * 1.0}
  defp deadband!(%{deadband: nil, deadband_percent: width}) when is_number(width), do: {"percent", width * 1.0}

  defp deadband!(options) do
    refuse!(:deadband, {options.deadband, options.deadband_percent}, "a number, as deadband or as deadband_percent")
  end

  defp overflow!(word) when word in [:drop_oldest, :drop_newest, :conflate, :close], do: {Atom.to_string(word), 0}
  defp overflow!({:block, ms}), do: {"block", whole!(:overflow, ms) * 1_000}
  defp overflow!(other), do: refuse!(:overflow, other, ":drop_oldest, :drop_newest, :conflate, :close or {:block, ms}")

  defp start!(word) when word in [:live, :latest], do: {Atom.to_string(word), 0}
  defp start!({:last, count}), do: {"last", whole!(:start, count)}

  defp start!({:since, time}) do
    case Senza.micros(time) do
      micros when is_integer(micros) and abs(micros) <= @most -> {"since", micros}
      _ -> refuse!(:start, {:since, time}, "{:since, time}, a DateTime or microseconds since 1970")
    end
  end

  defp start!(other), do: refuse!(:start, other, ":live, :latest, {:last, count} or {:since, time}")

  # Within what crosses to the compiled part, also times a thousand.
  defp whole!(_, number) when is_integer(number) and number in 0..0xFFFF_FFFF_FFFF, do: number
  defp whole!(field, other), do: refuse!(field, other, "an integer, at least 0")

  defp refuse!(field, value, rule) do
    raise ArgumentError, "contract: #{field} = #{inspect(value)}: must be #{rule}"
  end
end
