# Runs the contenders in VMs of their own, in turn, and draws the table; see `run`.

defmodule Bench do
  alias Bench.Contenders

  @limit_ms 300_000

  # What is measured, its unit, whether more is better, and the contenders: the first is what the others are held
  # against.
  @measurements [
    {"register", "ns", :less, [:registry, :ets, :pg, :senza]},
    {"whereis", "ns", :less, [:ets, :registry, :pg, :senza]},
    {"put", "ns", :less, [:ets, :senza, :senza_handle, :senza_many]},
    {"deliver singly", "readings/s", :more, [:pg, :senza]},
    {"deliver 256 together", "readings/s", :more, [:pg, :senza]},
    {"memory", "bytes/sensor", :less, [:registry, :ets, :pg, :senza]},
    {"death of all owners", "ms", :less, [:registry, :pg, :senza]}
  ]

  def run(arguments) do
    switches = [json: :boolean, quick: :boolean, only: :keep, contender: :keep, sensors: :integer, rounds: :integer]
    {options, [], []} = OptionParser.parse(arguments, strict: switches)
    quick = options[:quick]
    sensors = options[:sensors] || if(quick, do: 10_000, else: 100_000)
    rounds = options[:rounds] || if(quick, do: 1, else: 3)
    calls = if quick, do: 100_000, else: 1_000_000
    params = %{sensors: sensors, owners: sensors, calls: calls, ms: if(quick, do: 500, else: 3_000)}
    {only, chosen} = {Keyword.get_values(options, :only), Keyword.get_values(options, :contender)}

    rows =
      for {name, unit, better, contenders} <- @measurements,
          only == [] or Enum.any?(only, &String.contains?(name, &1)) do
        contenders = Enum.filter(contenders, &(chosen == [] or "#{&1}" in chosen))
        values = measure(name, contenders, rounds, params)
        %{name: name, unit: unit, better: better, values: for(c <- contenders, do: {c, median(values[c])})}
      end

    if options[:json], do: Enum.each(rows, &json/1), else: table(rows, params)
  end

  defp measure(name, contenders, rounds, params) do
    all = for _ <- 1..rounds, contender <- contenders, do: {contender, once(name, contender, params)}
    Enum.group_by(all, &elem(&1, 0), &elem(&1, 1))
  end

  defp once("deliver" <> how, contender, params) do
    batch = if how =~ "256", do: 256, else: 1
    deliver(contender, Map.merge(params, %{sensors: 1_000, batch: batch}))
  end

  defp once("death" <> _, contender, params), do: alone(:death, contender, params)
  defp once(name, contender, params), do: alone(String.to_existing_atom(name), contender, params)

  defp alone(function, contender, params) do
    {peer, node} = vm([])
    value = :erpc.call(node, Contenders, function, [contender, params], @limit_ms)
    :peer.stop(peer)
    value
  end

  # Every reading that was put is taken, or told as lost. What stood still for longer than nodes bear is measured again.
  defp deliver(contender, params, tries \\ 3) do
    {put, taken, lost, per_s} = delivered(contender, params)

    cond do
      taken + lost == put ->
        per_s

      tries > 1 ->
        IO.puts(:stderr, "#{contender}: #{put} put, #{taken} taken, #{lost} told as lost; once more")
        deliver(contender, params, tries - 1)

      true ->
        raise "#{contender}: #{put} put, #{taken} taken, #{lost} told as lost"
    end
  end

  defp delivered(contender, params) do
    {to, there} = vm(["+S", "1"])
    {from, here} = vm(["+S", "1"])
    :erpc.call(there, Contenders, :start, [contender, [node: "a"]])
    connect = if contender == :senza, do: [connect: :erpc.call(there, Senza, :listening, [])], else: []
    :erpc.call(here, Contenders, :start, [contender, connect])
    true = :erpc.call(here, Node, :connect, [there])
    taker = Node.spawn_link(there, Contenders, :serve, [contender, self()])

    if contender == :pg,
      do: Contenders.until(fn -> :erpc.call(here, :pg, :get_members, [:bench, :takers]) == [taker] end)

    put = :erpc.call(here, Contenders, :write, [contender, taker, params], @limit_ms)
    {taken, lost, ns} = receive do: ({:took, took} -> took)
    :peer.stop(from)
    :peer.stop(to)
    {put, taken, lost, taken / (ns / 1.0e9)}
  end

  defp vm(more) do
    paths = for path <- :code.get_path(), argument <- [~c"-pa", path], do: argument
    arguments = Enum.map(more, &to_charlist/1) ++ paths
    name = :peer.random_name()

    {:ok, peer, node} =
      :peer.start(%{name: name, host: '127.0.0.1', longnames: true, args: arguments, wait_boot: 60_000})

    {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [:elixir])
    {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [:logger])

    for {module, code} <- :persistent_term.get(:code),
        do: {:module, _} = :erpc.call(node, :code, :load_binary, [module, '', code])

    {peer, node}
  end

  defp median(values), do: Enum.at(Enum.sort(values), div(length(values), 2))

  # === how it is told ===

  defp table(rows, params) do
    IO.puts("#{params.sensors} sensors; each beside the first of its row\n")

    for %{name: name, unit: unit, better: better, values: [{_, base} | _] = values} <- rows do
      cells = for {contender, value} <- values, do: "#{contender} #{shown(value)} (#{factor(value, base, better)})"
      IO.puts("#{String.pad_trailing("#{name}, #{unit}", 34)} #{Enum.join(cells, "   ")}")
    end
  end

  # How many times as good.
  defp factor(value, base, :more), do: "#{Float.round(value / base, 2)}×"
  defp factor(value, base, :less), do: "#{Float.round(base / max(value, 1.0e-9), 2)}×"

  defp shown(value) when value >= 100, do: value |> round() |> Integer.to_string()
  defp shown(value), do: :erlang.float_to_binary(value / 1, decimals: 1)

  defp json(%{name: name, unit: unit, better: better, values: values}) do
    for {contender, value} <- values do
      fields = [measurement: name, contender: contender, unit: unit, better: better]
      text = Enum.map_join(fields, ",", fn {key, word} -> ~s("#{key}":"#{word}") end)
      IO.puts(~s({#{text},"value":#{:erlang.float_to_binary(value / 1, [:short])}}))
    end
  end
end

# VMs that are started later are given what is compiled here.
:persistent_term.put(:code, Code.compile_file("contenders.exs", __DIR__))
Bench.run(System.argv())
System.halt(0)
