defmodule Senza.History do
  @moduledoc false
  # What `Senza.history/4` does: asks the owner of a sensor, and waits for its answer.

  alias Senza.{Error, Native}

  # Readings that a normal scheduler hands out in one call.
  @few 256
  @first -0x8000_0000_0000_0000
  @last 0x7FFF_FFFF_FFFF_FFFF

  def ask(ref, sensor, attribute, options) do
    options = Keyword.validate!(options, last: 100, from: nil, to: nil, timeout: 5_000)
    last = Senza.count!("last", options[:last], 1..0xFFFF_FFFF)
    span = {time!("from", options[:from], @first), time!("to", options[:to], @last), last}
    # What is newer than `to` is walked over first.
    ask = if last <= @few and options[:to] == nil, do: &Native.ask/5, else: &Native.ask_much/5

    with {:ok, feed} <- Senza.checked(ask.(ref, sensor, attribute, span, self())) do
      answer(feed, sensor, options[:timeout])
    end
  end

  defp time!(what, time, default), do: Senza.count!(what, Senza.micros(time) || default, @first..@last)

  defp answer(feed, sensor, timeout) do
    receive do
      {:senza, ^feed, {:ok, readings}} -> {:ok, readings}
      {:senza, ^feed, :closed} -> refuse(:closed, "the node is closed", sensor)
      {:senza, ^feed, :wire} -> refuse(:wire, "the answer of the owner of #{inspect(sensor)} could not be read", sensor)
    after
      timeout ->
        Senza.unsubscribe(feed)
        refuse(:timeout, "the owner of #{inspect(sensor)} did not answer within #{timeout} ms", sensor)
    end
  end

  defp refuse(reason, message, sensor), do: {:error, %Error{reason: reason, message: message, sensor: sensor}}
end
