defmodule Senza.Feed do
  @moduledoc false
  # What the functions of `Senza` do that open feeds, and work on them.

  alias Senza.{Contract, Error, Filter, Native}

  # What a process that unsubscribes waits for at most: the courier has other messages to send first.
  @close_ms 5_000

  # === what opens one ===

  def subscribe(ref, filter, options) do
    {flow, contract} = Keyword.split(options, [:window, :batch_max, :format, :to])
    {to, flow} = flow!(flow, [:tuple, :struct, :measurement])
    filter = Filter.raw!(filter)
    ref |> Native.subscribe(filter, Contract.raw!(contract), to, flow) |> Senza.checked()
  end

  def listen(ref, options) do
    {to, flow} = flow!(options, [:tuple, :map])
    ref |> Native.listen(to, flow) |> Senza.checked()
  end

  def follow_demand(follow, options) do
    options = Keyword.validate!(options, to: self())
    options[:to] |> to!() |> follow.() |> Senza.checked()
  end

  defp flow!(options, formats) do
    options = Keyword.validate!(options, to: self(), batch_max: 1_024, window: 4, format: :tuple)
    format = options[:format]

    unless format in formats do
      raise ArgumentError, "format must be one of #{inspect(formats)}, got: #{inspect(format)}"
    end

    batch_max = Senza.count!("batch_max", options[:batch_max], 1..65_536)
    window = Senza.count!("window", options[:window], 1..1_024)
    {to!(options[:to]), {batch_max, window, Atom.to_string(format)}}
  end

  defp to!(to) when is_pid(to) and node(to) == node(), do: to
  defp to!(to), do: raise(ArgumentError, "to must be a pid of a process of this VM, got: #{inspect(to)}")

  # === what works on one ===

  def next(feed, timeout) do
    receive do
      {:senza, ^feed, :closed} ->
        :closed

      {:senza, ^feed, batch} ->
        Senza.ack(feed)
        {:ok, batch}
    after
      timeout -> :timeout
    end
  end

  def unsubscribe(feed) do
    case Native.close(feed) do
      to_come when is_boolean(to_come) -> if Native.receiver(feed) == self(), do: flush(feed, to_come), else: :ok
      fault -> Error.of(fault)
    end
  end

  # The last message, which is no batch and no demand, comes for certain where it was not sent yet; else it may have been read before.
  defp flush(feed, to_come) do
    receive do
      {:senza, ^feed, batch} when is_list(batch) -> flush(feed, to_come)
      {:senza, ^feed, {:demand, _, _}} -> flush(feed, to_come)
      {:senza, ^feed, _last} -> :ok
    after
      if(to_come, do: @close_ms, else: 0) -> :ok
    end
  end

  def change(feed, filters) do
    filters = if is_list(filters) and not Keyword.keyword?(filters), do: filters, else: [filters]
    feed |> Native.change(Enum.map(filters, &Filter.raw!/1)) |> Senza.checked()
  end

  def ledger(feed) do
    with {offered, delivered, conflated, filtered, dropped, queued} <- feed |> Native.ledger() |> Senza.checked() do
      %{
        offered: offered,
        delivered: delivered,
        conflated: conflated,
        filtered: filtered,
        dropped: dropped,
        queued: queued
      }
    end
  end
end
