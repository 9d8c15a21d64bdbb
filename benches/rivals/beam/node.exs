# What families share: nodes in processes of their own, ids, clocks, waiting, and memory. Knows nothing of what is
# measured.

defmodule BeamNode do
  @deadline_s 55

  # === nodes ===

  # Starts a node in a process of its own; it knows the code of this one, and ends when this one does, by whatever.
  # It is connected to this one unless told otherwise.
  def start(name, options \\ []) do
    [own, host] = node() |> Atom.to_string() |> String.split("@")
    name = String.replace(own, "here", name)

    {:ok, control, node} =
      :peer.start(%{
        name: to_charlist(name),
        host: to_charlist(host),
        longnames: true,
        # It is asked by a way that is not measured.
        connection: :standard_io,
        exec: to_charlist(System.find_executable("erl")),
        args: ['-pa', :code.lib_dir(:elixir) ++ '/ebin', '-connect_all', 'false']
      })

    ask = fn module, function, args -> :peer.call(control, module, function, args, @deadline_s * 1000) end
    {:ok, _} = ask.(:application, :ensure_all_started, [:elixir])
    for {module, code} <- :persistent_term.get(:code), do: {:module, _} = ask.(:code, :load_binary, [module, '', code])
    if Keyword.get(options, :connect, true), do: true = Node.connect(node)
    %{node: node, process: ask.(:os, :getpid, []), ask: ask}
  end

  # Kills it as a crash would.
  def kill(%{process: process}), do: {_, 0} = System.cmd("kill", ["-KILL", "#{process}"])

  # Calls it over the connection that is measured.
  def call(%{node: node}, module, function, args) do
    :erpc.call(node, module, function, args, @deadline_s * 1000)
  end

  # Starts a process that outlives its caller; answers its pid once it is prepared.
  def stay(prepare, serve \\ fn -> Process.sleep(:infinity) end) do
    {me, prepared} = {self(), make_ref()}

    pid =
      spawn(fn ->
        prepare.()
        send(me, prepared)
        serve.()
      end)

    receive do: (^prepared -> pid)
  end

  # === ids ===

  # 24 bytes each.
  def id(number), do: "building/sensor-" <> binary_part(Integer.to_string(100_000_000 + number), 1, 8)

  # By number: `elem(ids, number)`.
  def ids(count), do: 0..(count - 1)//1 |> Enum.map(&id/1) |> List.to_tuple()

  # === clocks and waiting ===

  def now, do: System.monotonic_time(:microsecond)
  def seconds(begin), do: (now() - begin) / 1_000_000

  # Looks every millisecond.
  def until(condition, deadline \\ now() + @deadline_s * 1_000_000) do
    cond do
      condition.() ->
        :ok

      now() > deadline ->
        raise "waited in vain"

      true ->
        Process.sleep(1)
        until(condition, deadline)
    end
  end

  # === memory and time of the processor ===

  # Of all processes.
  def collect, do: Enum.each(Process.list(), &:erlang.garbage_collect/1)

  # In RAM; and what of that belongs to no file.
  def resident, do: told_in_kilobytes("VmRSS")
  def anonymous, do: told_in_kilobytes("RssAnon")

  defp told_in_kilobytes(name) do
    [_, kilobytes] = Regex.run(~r/#{name}:\s+(\d+)/, File.read!("/proc/self/status"))
    String.to_integer(kilobytes) * 1024
  end

  # Of all threads of this process, user and system, since its start.
  def processor_s, do: (:erlang.statistics(:runtime) |> elem(0)) / 1000
end
