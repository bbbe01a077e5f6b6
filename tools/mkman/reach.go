package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"posthaste/tools/internal/use"
)

const module = "posthaste"

// know are packages that mention parameters as a vocabulary, or to compute the
// defaults of others, and not to act on them.
var know = []string{"posthaste/pkg/params", "posthaste/pkg/config", "posthaste/pkg/check"}

// source is the module's code as far as it was read.
type source struct {
	root     string
	goNames  map[string]string // of package params
	packages map[string]*pkg
}

// pkg is one package without its tests.
type pkg struct {
	path    string
	doc     string // the package comment
	imports []string
	decls   map[string]*decl   // functions, types, variables and constants
	methods map[string][]*decl // by name, of any type
	always  []*decl            // init functions and what "_" is assigned
	uses    []string           // parameters of //params:use comments
}

// decl is one top-level declaration.
type decl struct {
	in    *pkg
	recv  string // type of a method
	nodes []ast.Node
	names map[string]string // import names of its file
}

func newSource(root string) (*source, error) {
	names, err := use.Declarations(filepath.Join(root, "pkg/params"))
	return &source{root: root, goNames: names, packages: map[string]*pkg{}}, err
}

// load reads a package of the module and those that it imports.
func (s *source) load(importPath string) (*pkg, error) {
	if p := s.packages[importPath]; p != nil {
		return p, nil
	}
	p := &pkg{path: importPath, decls: map[string]*decl{}, methods: map[string][]*decl{}}
	s.packages[importPath] = p
	dir := filepath.Join(s.root, strings.TrimPrefix(importPath, module))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		if f.Doc != nil {
			p.doc = f.Doc.Text()
		}
		p.add(f)
	}
	for _, i := range p.imports {
		if _, err := s.load(i); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// add sorts a file's declarations.
func (p *pkg) add(f *ast.File) {
	names := map[string]string{}
	for _, i := range f.Imports {
		target, err := strconv.Unquote(i.Path.Value)
		if err != nil || !strings.HasPrefix(target, module+"/") {
			continue
		}
		name := path.Base(target)
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = target
		if !slices.Contains(p.imports, target) {
			p.imports = append(p.imports, target)
		}
	}
	for _, g := range f.Comments {
		for _, c := range g.List {
			if rest, ok := strings.CutPrefix(c.Text, "//params:use "); ok {
				p.uses = append(p.uses, strings.Fields(rest)...)
			}
		}
	}
	put := func(name string, n ast.Node) {
		d := &decl{in: p, nodes: []ast.Node{n}, names: names}
		if name == "_" || name == "init" {
			p.always = append(p.always, d)
			return
		}
		p.decls[name] = d
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				put(d.Name.Name, d)
				continue
			}
			m := &decl{in: p, recv: receiver(d.Recv.List[0].Type), nodes: []ast.Node{d}, names: names}
			p.methods[d.Name.Name] = append(p.methods[d.Name.Name], m)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					put(spec.Name.Name, spec)
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						put(n.Name, spec)
					}
				}
			}
		}
	}
}

func receiver(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// reach walks what a program can come to. It is a rough call graph: a method is
// reached when its type is, and a method of its name is called somewhere.
type reach struct {
	s       *source
	seen    map[*decl]bool
	todo    []*decl
	types   map[*pkg]map[string]bool
	called  map[string]bool
	pkgs    map[*pkg]bool
	reads   map[string]bool
	pattern []string
}

// reads returns the parameters that a program refers to, sorted.
func (s *source) reads(program *pkg) ([]string, error) {
	r := &reach{s: s, seen: map[*decl]bool{}, types: map[*pkg]map[string]bool{}, called: map[string]bool{},
		pkgs: map[*pkg]bool{}, reads: map[string]bool{}}
	r.enter(program)
	r.add(program.decls["main"])
	for len(r.todo) > 0 {
		for len(r.todo) > 0 {
			d := r.todo[len(r.todo)-1]
			r.todo = r.todo[:len(r.todo)-1]
			r.walk(d)
		}
		for p := range r.pkgs {
			for name, l := range p.methods {
				for _, m := range l {
					if r.called[name] && r.types[p][m.recv] {
						r.add(m)
					}
				}
			}
		}
	}
	for _, pattern := range r.pattern {
		for _, d := range allNames() {
			if ok, err := path.Match(pattern, d); err != nil {
				return nil, err
			} else if ok {
				r.reads[d] = true
			}
		}
	}
	return sortedKeys(r.reads), nil
}

func (r *reach) enter(p *pkg) {
	if r.pkgs[p] || slices.Contains(know, p.path) {
		return
	}
	r.pkgs[p] = true
	r.types[p] = map[string]bool{}
	r.pattern = append(r.pattern, p.uses...)
	for _, d := range p.always {
		r.add(d)
	}
	for _, i := range p.imports {
		r.enter(r.s.packages[i])
	}
}

func (r *reach) add(d *decl) {
	if d != nil && !r.seen[d] && !slices.Contains(know, d.in.path) {
		r.seen[d] = true
		r.todo = append(r.todo, d)
	}
}

// name reaches a declaration of a package.
func (r *reach) name(p *pkg, name string) {
	d := p.decls[name]
	if d == nil || r.types[p] == nil {
		return
	}
	r.types[p][name] = true
	r.add(d)
}

// readers are the methods whose string argument names a parameter.
var readers = []string{"Get", "Lookup", "lookup", "Raw", "Explicit", "value", "get"}

func (r *reach) walk(d *decl) {
	for _, n := range d.nodes {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				r.called[n.Sel.Name] = true
				x, ok := n.X.(*ast.Ident)
				if !ok {
					break
				}
				if target := d.names[x.Name]; target == module+"/pkg/params" {
					if p, ok := r.s.goNames[n.Sel.Name]; ok {
						r.reads[p] = true
					}
				} else if target != "" {
					r.name(r.s.packages[target], n.Sel.Name)
				}
			case *ast.Ident:
				r.name(d.in, n.Name)
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 && slices.Contains(readers, sel.Sel.Name) {
					if t, ok := text(n.Args[0]); ok && parameter(t) != nil {
						r.reads[t] = true
					}
				}
			case *ast.InterfaceType:
				// What is called through it is called by its name.
				for _, m := range n.Methods.List {
					for _, name := range m.Names {
						r.called[name.Name] = true
					}
				}
			case *ast.BasicLit:
				// qmgr makes NAME_destination_recipient_limit from the ending.
				if t, ok := text(n); ok && t != "maps" && strings.Contains(t, "_") && parameter("transport_"+t) != nil {
					r.reads["transport_"+t] = true
				}
			}
			return true
		})
	}
}

func text(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// programFolders lists the folders of the root that hold a main.go.
func programFolders(root string) ([]string, error) {
	var out []string
	entries, err := fs.ReadDir(os.DirFS(root), ".")
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, e.Name(), "main.go")); err == nil {
			out = append(out, e.Name())
		}
	}
	return out, err
}
