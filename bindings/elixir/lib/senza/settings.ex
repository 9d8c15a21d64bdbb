defmodule Senza.Settings do
  @moduledoc false
  # The options of `Senza.start_link/1`: their types. Their ranges are the engine's.

  @kinds [
    name: :atom,
    node: :text,
    listen: :texts,
    connect: :texts,
    mode: :mode,
    shadow: :shadow,
    lossless: :texts,
    config: :text,
    root: :text,
    insecure: :boolean,
    sensors_max: :count,
    attributes_max: :count,
    history_max: :count,
    idle_unregister_s: :count,
    lease_ms: :count,
    silence_ms: :count,
    takeover_holdoff_ms: :count,
    zenoh: :pairs
  ]

  @doc "The options as a map, single endpoints as lists."
  def check!(options) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "options must be a keyword list, got: #{inspect(options)}")

    settings = Map.new(options, &check_one!/1)

    if settings[:mode] == :shadow and settings[:shadow] == nil do
      raise ArgumentError, "mode: :shadow needs the option shadow: what Senza.shadow/2 takes"
    end

    settings
  end

  @doc "Those that the compiled part reads."
  def of_node(settings) do
    settings = settings |> Map.drop([:name, :shadow]) |> Map.update(:mode, nil, &mode_word/1)
    Map.update(settings, :zenoh, [], &Enum.to_list/1)
  end

  # A shadow begins as a member of the cluster, and is switched when it runs.
  defp mode_word(:shadow), do: "cluster"
  defp mode_word(mode), do: Atom.to_string(mode)

  defp check_one!({name, value}) do
    kind =
      @kinds[name] || raise ArgumentError, "unknown option #{inspect(name)}; options: #{inspect(Keyword.keys(@kinds))}"

    case check(kind, value) do
      {:ok, value} -> {name, value}
      {:error, rule} -> raise ArgumentError, "option #{inspect(name)} must be #{rule}, got: #{inspect(value)}"
    end
  end

  defp check(:atom, value) when is_atom(value) and value not in [nil, true, false], do: {:ok, value}
  defp check(:atom, _), do: {:error, "an atom"}
  defp check(:text, value) when is_binary(value), do: {:ok, value}
  defp check(:text, _), do: {:error, "a string"}
  defp check(:texts, value) when is_binary(value), do: {:ok, [value]}
  defp check(:texts, value), do: check_list(value, &is_binary/1, "a string or a list of strings")
  defp check(:boolean, value) when is_boolean(value), do: {:ok, value}
  defp check(:boolean, _), do: {:error, "true or false"}
  defp check(:count, value) when is_integer(value) and value in 0..0xFFFF_FFFF, do: {:ok, value}
  defp check(:count, _), do: {:error, "an integer from 0 to 4294967295"}
  defp check(:mode, value) when value in [:local, :shadow, :cluster], do: {:ok, value}
  defp check(:mode, _), do: {:error, ":local, :shadow or :cluster"}
  defp check(:shadow, value) when is_list(value), do: {:ok, value}
  defp check(:shadow, _), do: {:error, "options of Senza.shadow/2"}

  defp check(:pairs, value) do
    pair? = &match?({path, json} when is_binary(path) and is_binary(json), &1)
    value = if is_map(value), do: Map.to_list(value), else: value
    check_list(value, pair?, "pairs of a path of Zenoh's configuration and its value as JSON5")
  end

  defp check_list(value, right?, rule) do
    if is_list(value) and Enum.all?(value, right?), do: {:ok, value}, else: {:error, rule}
  end
end
