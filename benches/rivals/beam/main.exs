# Reads the parameters of a measurement, has its family measure it, and prints the answer as one JSON object:
# `{"metrics":{…},"account":{…}|null,"details":{…}}`. Knows no family but by its name.
#
# A family is a module with `params/0`, each parameter with what holds where it is not given, or the list of words that
# it may be, of which the first holds; and with `run/1`, which answers `{metrics, account, details}`.

defmodule Main do
  # Beyond what was asked for; nothing takes so long.
  @limit_s 58

  def run([family | words]) do
    module = family |> String.capitalize() |> then(&Module.concat([&1]))
    params = Enum.reduce(words, Map.new(module.params(), &default/1), &set(&1, &2, module.params()))
    stop_after(@limit_s + Map.get(params, :seconds, 0))
    {metrics, account, details} = module.run(params)
    add_up!(account)

    configuration = %{
      elixir: System.version(),
      otp: System.otp_release(),
      flags: System.get_env("ERL_FLAGS") |> flags()
    }

    details = Map.update(Map.new(details), :configuration, configuration, &Map.merge(configuration, Map.new(&1)))
    IO.puts(json(%{metrics: Map.new(metrics), account: account, details: details}))
  end

  # === parameters ===

  defp default({name, [first | _]}), do: {name, first}
  defp default({name, value}), do: {name, value}

  defp set(word, params, known) do
    with [name, value] <- String.split(word, "=", parts: 2),
         {name, kind} <- Enum.find(known, fn {known, _} -> "#{known}" == name end),
         {:ok, value} <- read(kind, value) do
      Map.put(params, name, value)
    else
      _ -> wrong("knows no parameter #{word}; parameters: #{inspect(known)}")
    end
  end

  defp read(words, value) when is_list(words) do
    Enum.find_value(words, :error, fn word -> if "#{word}" == value, do: {:ok, word} end)
  end

  defp read(default, value) do
    case {default, Float.parse(value)} do
      {_, {number, ""}} when number < 0 -> :error
      {default, {number, ""}} when is_float(default) -> {:ok, number}
      {_, {number, ""}} when number == trunc(number) -> {:ok, trunc(number)}
      _ -> :error
    end
  end

  defp wrong(why) do
    IO.puts(:stderr, "benches/rivals/beam/run: #{why}")
    System.halt(2)
  end

  # === the end ===

  # A measurement that stands still ends in an error.
  defp stop_after(seconds) do
    spawn(fn ->
      Process.sleep(round(seconds * 1000))
      IO.puts(:stderr, "benches/rivals/beam/run: not done after #{seconds} s")
      System.halt(1)
    end)
  end

  defp add_up!(nil), do: :ok

  defp add_up!(%{offered: offered, arrived: arrived, told: told, lost: lost} = account) do
    if offered != arrived + told + lost, do: raise("#{inspect(account)} does not add up")
  end

  # The cookie is nobody's business.
  defp flags(flags), do: flags |> String.split(" -start_epmd") |> hd() |> String.trim()

  # === JSON ===

  defp json(nil), do: "null"
  defp json(value) when is_boolean(value) or is_integer(value), do: "#{value}"
  defp json(value) when is_float(value), do: :erlang.float_to_binary(value, [:short])
  defp json(value) when is_atom(value), do: json("#{value}")
  # What is told here has no control characters.
  defp json(value) when is_binary(value), do: "\"#{String.replace(value, ~r/["\\]/, "\\\\\\0")}\""
  defp json(value) when is_list(value), do: "[#{Enum.map_join(value, ",", &json/1)}]"
  defp json(value) when is_map(value), do: "{#{Enum.map_join(value, ",", fn {k, v} -> "#{json(k)}:#{json(v)}" end)}}"
end

[family | _] = System.argv()
# The nodes that are started later are given what is compiled here.
code = Enum.flat_map(["node", "bus", "histogram", "readings", "pace", family], &Code.compile_file("#{&1}.exs", __DIR__))
:persistent_term.put(:code, code)
Main.run(System.argv())
System.halt(0)
