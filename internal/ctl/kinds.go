package ctl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/spf13/cobra"
)

func (a *app) kindCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the kinds of resources", Args: exactly(), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			kinds, err := c.Kinds(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(kinds, kindTable(kinds))
		})
	}}
	show := &cobra.Command{
		Use: "show KIND", Short: "Show what is declared of a kind", Args: exactly("KIND"), ValidArgsFunction: a.completeKind,
		Long: "Show what is declared of a kind. With -o json or yaml its schema is shown, too.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				kinds, err := kindsBehind(cmd.Context(), c, args[0])
				if err != nil {
					return err
				}
				if len(kinds) > 1 {
					return usagef("%s means several kinds: %s", args[0], names(kinds))
				}
				k, err := c.Kind(cmd.Context(), kinds[0].Kind) // with its schema
				if err != nil {
					return err
				}
				return a.print(k, kindDetails(k))
			})
		},
	}
	return group("kind", "Kinds of resources, of the core and of plugins", list, show)
}

func version(k api.Kind) string {
	if k.Version == 0 {
		return "" // nobody declares it
	}
	return strconv.Itoa(k.Version)
}

func kindTable(kinds []api.Kind) table {
	t := table{head: []string{"KIND", "VERSION", "RESOURCES", "HOSTS", "INVALID", "DECLARED BY", "SCHEMA", "PROBLEM"}, wide: 6}
	for _, k := range kinds {
		by, schema, problem := "", "", ""
		if k.Core {
			by = "core"
		}
		if len(k.Declarations) > 0 {
			by = strings.Join(k.Declarations[0].Modules, ",")
			problem = k.Declarations[0].Problem
		}
		if k.SchemaBytes > 0 {
			schema = fmt.Sprintf("%d bytes", k.SchemaBytes)
		}
		t.add(k.Kind, version(k), strconv.Itoa(k.Resources), strconv.Itoa(k.Hosts), strconv.Itoa(k.Invalid), by, schema, problem)
	}
	return t
}

func kindDetails(k api.Kind) table {
	t := table{head: []string{"FIELD", "VALUE"}}
	t.add("kind", k.Kind)
	t.add("version", version(k))
	t.add("resources", fmt.Sprintf("%d on %d hosts", k.Resources, k.Hosts))
	t.add("invalid", strconv.Itoa(k.Invalid))
	for _, c := range k.Columns {
		path := c.Path
		if c.Wide {
			path += " (wide)"
		}
		t.add("column "+c.Name, path)
	}
	if k.SchemaBytes > 0 {
		t.add("schema", fmt.Sprintf("%d bytes; -o json shows it", k.SchemaBytes))
	}
	for _, d := range k.Declarations {
		text := fmt.Sprintf("version %d on %d hosts, by %s", d.Version, d.Hosts, strings.Join(d.Modules, ","))
		if d.Checked {
			text += ", with a schema"
		}
		t.add("declared", text)
		if d.Problem != "" {
			t.add("problem", d.Problem)
		}
	}
	return t
}
