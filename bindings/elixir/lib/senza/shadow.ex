defmodule Senza.Shadow do
  @moduledoc false
  # Another registry in charge of look-ups, and every answer of it compared. Comparing and counting is the engine's;
  # here the registry is asked, since no compiled code can, and disagreements are told.

  require Logger

  alias Senza.{Error, Native}

  defstruct [:ref, :me, :ask, :ids, :scope, :tell]

  # At most one warning in so long.
  @log_ms 1_000

  def new!(ref, options) do
    options = Keyword.validate!(options, registry: nil, existing: nil, ids: nil, on_disagreement: :log)
    {me, _listening} = Native.describe(ref)
    {scope, ask, ids} = in_charge!(options[:registry], options[:existing], options[:ids])
    %__MODULE__{ref: ref, me: me, ask: ask, ids: ids, scope: scope, tell: tell!(options[:on_disagreement])}
  end

  defp in_charge!(registry, nil, nil) when is_atom(registry) and registry != nil do
    ask = fn id ->
      case Registry.lookup(registry, id) do
        [{pid, _} | _] -> {:ok, pid}
        [] -> {:error, :not_found}
      end
    end

    {:node, ask, fn -> Registry.select(registry, [{{:"$1", :_, :_}, [], [:"$1"]}]) end}
  end

  defp in_charge!(nil, ask, ids) when is_function(ask, 1) and (ids == nil or is_function(ids, 0)) do
    {:cluster, ask, ids}
  end

  defp in_charge!(registry, existing, ids) do
    raise ArgumentError,
          "a shadow needs registry: name, or existing: a function of an id (and ids: a function), " <>
            "got: #{inspect(registry: registry, existing: existing, ids: ids)}"
  end

  defp tell!(tell) when is_function(tell, 1), do: tell
  defp tell!(pid) when is_pid(pid), do: &send(pid, {:senza_disagreement, &1})

  defp tell!(:log) do
    last = :atomics.new(1, signed: true)
    :atomics.put(last, 1, System.monotonic_time(:millisecond) - @log_ms)
    &log(last, &1)
  end

  defp tell!(other),
    do: raise(ArgumentError, "on_disagreement must be a function, a pid or :log, got: #{inspect(other)}")

  defp log(last, %{sensor: sensor, existing: existing, senza: senza}) do
    {now, before} = {System.monotonic_time(:millisecond), :atomics.get(last, 1)}

    if now - before >= @log_ms and :atomics.compare_exchange(last, 1, before, now) == :ok do
      Logger.warning("senza disagrees on #{inspect(sensor)}: #{on(existing)} by the registry, #{on(senza)} by senza")
    end
  end

  defp on(nil), do: "nowhere"
  defp on(name), do: "on #{name}"

  @doc "The answer of the registry in charge, compared."
  def whereis(%__MODULE__{} = shadow, id) do
    answer = shadow.ask.(id)
    existing = owner!(shadow, answer)

    if existing != nil or shadow.scope == :cluster or not elsewhere?(shadow, id) do
      compare_one(shadow, id, existing)
    end

    answer
  end

  defp owner!(shadow, {:ok, pid}) when is_pid(pid), do: shadow.me
  defp owner!(_, {:remote, node}) when is_binary(node), do: node
  defp owner!(_, {:error, :not_found}), do: nil

  defp owner!(_, other) do
    raise ArgumentError,
          "the registry in charge must answer {:ok, pid}, {:remote, node} or {:error, :not_found}, " <>
            "got: #{inspect(other)}"
  end

  # What a registry of one node cannot know.
  defp elsewhere?(%{ref: ref, me: me}, id), do: match?({:ok, {node, _}} when node != me, Native.owner(ref, id))

  defp compare_one(shadow, id, existing) do
    case Native.compare_one(shadow.ref, id, existing) do
      :ok -> :ok
      {:differs, senza} -> shadow.tell.(%{sensor: id, existing: existing, senza: senza})
      # The registry in charge answers also when senza is closed.
      {:senza_error, _, _, _} -> :ok
    end
  end

  @doc "Compares everything."
  def compare(name) do
    case :persistent_term.get({Senza.SensorRegistry, name}, nil) do
      %__MODULE__{ids: nil} -> raise ArgumentError, "comparing all needs the shadow's option ids"
      %__MODULE__{} = shadow -> compare_all(shadow)
      _ -> raise ArgumentError, "no registry is in charge of #{inspect(name)}; see Senza.shadow/2"
    end
  end

  defp compare_all(shadow) do
    known = for id <- shadow.ids.(), owner = owner!(shadow, shadow.ask.(id)), do: {id, owner}
    # Nothing is held against a registry of one node that it cannot know.
    known = if shadow.scope == :node, do: known ++ others(shadow, MapSet.new(known, &elem(&1, 0))), else: known

    with differed when is_list(differed) <- shadow.ref |> Native.compare_all(known) |> Senza.checked() do
      differed = Enum.map(differed, &disagreement/1)
      Enum.each(differed, &shadow.tell.(Map.delete(&1, :at)))
      differed
    end
  end

  defp others(%{ref: ref, me: me}, known) do
    for %{sensor: id, node: node} <- Senza.stream(ref), node != me and id not in known, do: {id, node}
  end

  @doc "What was found so far."
  def comparison(ref) do
    case Native.comparison(ref) do
      {compared, missing, extra, other_node, samples} ->
        samples = Enum.map(samples, &disagreement/1)
        %{compared: compared, missing: missing, extra: extra, other_node: other_node, samples: samples}

      fault ->
        Error.of(fault)
    end
  end

  defp disagreement({sensor, existing, senza, at}), do: %{sensor: sensor, existing: existing, senza: senza, at: at}
end
